# Writes `out`/embrun-COMMAND.8 for each command, and `out`/embrun.8 from docs/embrun.8 with the commands and the global options.
# The pages are described by docs/commands.roff: a line `== COMMAND` and the text of its DESCRIPTION and of what follows.

function roff(text) {
	gsub(/\\/, "\\e", text)
	gsub(/-/, "\\-", text)
	gsub(/'/, "\\(aq", text)
	return text
}

function command(verb, usage, text, page, words, n, i) {
	if (verb == "") {
		page_file = out "/options"
		return
	}
	page_file = out "/embrun-" verb ".8"
	print ".TP\n.BR embrun\\-" verb " (8)\n" roff(text) "." > (out "/commands")
	print ".TH EMBRUN\\-" toupper(verb) " 8 " date " \"embrun " version "\" \"System Administration\"" > page_file
	print ".SH NAME\nembrun\\-" verb " \\- " roff(text) > page_file
	print ".SH SYNOPSIS\n.B embrun\n.RI [ \"global options\" ]\n.B " verb "\n.RI [ options ]" > page_file
	n = split(usage, words, " ")
	for (i = 1; i <= n; i++) print ".I " roff(words[i]) > page_file
	print ".SH DESCRIPTION" > page_file
	if (!(verb in described)) {
		print "docs/commands.roff does not describe " verb > "/dev/stderr"
		failed = 1
	}
	at = index(described[verb], ".SH EXAMPLES\n")
	printf "%s", at ? substr(described[verb], 1, at - 1) : described[verb] > page_file
	if (at) examples[verb] = substr(described[verb], at)
	print ".SH OPTIONS\nThe global options are described in\n.BR embrun (8)." > page_file
	pages[verb] = page_file
}

function option(name, letter, value, text, many) {
	many = sub(/\.\.\.$/, "", value)
	print ".TP" > page_file
	printf "%s", (value == "" ? ".B " : ".BI ") (value == "" ? "" : "\"") > page_file
	printf "%s", (letter == "" ? "" : "\\-" letter (value == "" ? ", " : ", ")) "\\-\\-" roff(name) > page_file
	print (value == "" ? "" : " \" " roff(value)) > page_file
	print roff(toupper(substr(text, 1, 1)) substr(text, 2)) "." (many ? "\nMay be given more than once." : "") > page_file
}

function insert(file, line) {
	while ((getline line < file) > 0) print line > (out "/embrun.8")
	close(file)
}

function finish(verb, line) {
	for (verb in pages) {
		print ".SH EXIT STATUS" > pages[verb]
		print ((verb in status) ? status[verb] : "0 on success; 1 after an error, which is printed to standard error.") > pages[verb]
		printf "%s", examples[verb] > pages[verb]
		print ".SH SEE ALSO\n.BR embrun (8)" > pages[verb]
		close(pages[verb])
	}
	close(out "/commands")
	close(out "/options")
	while ((getline line < manual) > 0) {
		if (line == ".\\\" commands") insert(out "/commands")
		else if (line == ".\\\" options") insert(out "/options")
		else if (line ~ /^\.TH /) print ".TH EMBRUN 8 " date " \"embrun " version "\" \"System Administration\"" > (out "/embrun.8")
		else print line > (out "/embrun.8")
	}
	for (verb in described) if (!(verb in pages)) {
		print "docs/commands.roff describes " verb ", which is no command" > "/dev/stderr"
		failed = 1
	}
	exit failed
}

BEGIN {
	while ((getline line < descriptions) > 0) {
		if (line ~ /^== /) section = substr(line, 4)
		else if (section != "") described[section] = described[section] line "\n"
	}
	while ((getline line < manual) > 0) if (line ~ /^\.TH /) {
		split(line, title, " ")
		date = title[4]
	}
	close(manual)
	own = "That of the process, or 128 plus the number of the signal that ended it. "
	status["run"] = own "With\n.B \\-\\-detach\n0 on success. 1 after an error, which is printed to standard error."
	status["exec"] = own "With\n.B \\-\\-detach\n0 on success. 255 after an error, which is printed to standard error."
	status["seccomp"] = "0 on success; 1 after an error, which is printed to standard error.\n.B record\nreturns the exit status of the container."
}

# Writes the completion for fish: a call of `complete` for each command, option and argument.

function quoted(text) {
	gsub(/\\/, "\\\\", text)
	gsub(/'/, "\\'", text)
	return "'" text "'"
}

function action(how) {
	if (how == "file") return " -a '(__fish_complete_path (commandline -ct))'"
	if (how == "directory") return " -a '(__fish_complete_directories)'"
	if (how == "id") return " -a '(__embrun_ids)'"
	if (how == "command") return " -a '" all "'"
	return how == "" ? "" : " -a '" how "'"
}

function command(verb, usage, text, names, n, i) {
	current = verb
	if (verb == "") return
	all = all (all == "" ? "" : " ") verb
	lines = lines "complete -c embrun -f -n '__embrun_at \"\" 1' -a " verb " -d " quoted(text) "\n"
	n = arguments(usage, names)
	for (i = 1; i <= n; i++) {
		how = argument_completes(verb, names[i])
		if (how == "command") later = later "complete -c embrun -f -n '__embrun_at " verb " " i "' -a @ALL@\n"
		else if (how != "") lines = lines "complete -c embrun -n '__embrun_at " verb " " i "'" action(how) "\n"
	}
}

function option(name, letter, value, text) {
	if (current == "") with_values = value == "" ? with_values : with_values " --" name
	lines = lines "complete -c embrun -n '__embrun_at " (current == "" ? "\"\"" : current) "'" (letter == "" ? "" : " -s " letter) " -l " name
	lines = lines (value == "" ? "" : " -x" action(completes(name, value, text))) " -d " quoted(text) "\n"
	if (current == "" || value == "") return
	if (!(current in values)) order[++count] = current
	values[current] = values[current] " --" name (letter == "" ? "" : " -" letter)
}

function finish(i, line) {
	print "# Completion of embrun for fish, generated from the table of the command line.\n"
	print "# COMMAND: its options that take a value"
	print "function __embrun_with_value\n\tswitch \"$argv[1]\"\n\t\tcase ''\n\t\t\tstring split ' ' --" with_values
	for (i = 1; i <= count; i++) print "\t\tcase " order[i] "\n\t\t\tstring split ' ' --" values[order[i]]
	print "\tend\nend\n"
	while ((getline line < frame) > 0) print line
	gsub(/@ALL@/, "'" all "'", later)
	printf "%s%s", lines, later
}

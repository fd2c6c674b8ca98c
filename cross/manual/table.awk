# Reads src/cli/commands.txt, the table of the parser, and calls `command` for the program and each command, then `option` for each of
# its options, and `finish` at the end. What the help text hides is left out.
#
# `command` gets the name ("" for the program), its arguments and its text; `option` gets the name, the letter or "", the value or
# "", and the text. The other files of this directory define these functions.

function shown(text) { return text != "" && text !~ /^not supported/ }

function read_line(line) {
	at = index(line, ":")
	head = at ? substr(line, 1, at - 1) : line
	text = at ? substr(line, at + 1) : ""
	sub(/^ +/, "", text)
}

function read_option(line, words, n, i) {
	read_line(line)
	name = letter = value = ""
	n = split(head, words, " ")
	for (i = 1; i <= n; i++) {
		if (words[i] ~ /^--/) name = substr(words[i], 3)
		else if (words[i] ~ /^-/) letter = substr(words[i], 2, 1)
		else value = words[i]
	}
	if (shown(text)) option(name, letter, value, text)
}

function end_command() {
	if (in_command && is_shown) read_option("-h, --help: print this")
	in_command = 0
}

# The values that a text lists before its default, as in `table or json (default: table)`.
function choices(text, list) {
	if (!match(text, /([a-z]+, )*[a-z]+ or [a-z]+ \(default/)) return ""
	list = substr(text, RSTART, RLENGTH - 9)
	gsub(/, | or /, " ", list)
	return list
}

# What completes the value of an option: file, directory, words to choose from, or "".
function completes(name, value, text) {
	if (choices(text) != "") return choices(text)
	if (name == "role") return roles
	if (value ~ /^DIR/ && name != "cwd") return "directory"
	if (value ~ /^(FILE|PATH)/ && name != "as" && name != "cgroup") return "file"
	return ""
}

# The same for an argument, by its name in the table: also id and command.
function argument_completes(command, name) {
	if (name == "container-id") return "id"
	if (name == "command") return command == "help" ? "command" : ""
	if (name == "bundle|profile" || name == "device") return "file"
	if (name == "signal") return "HUP INT QUIT KILL USR1 USR2 TERM CONT STOP"
	if (name ~ /\|/) {
		gsub(/\|/, " ", name)
		return name
	}
	return ""
}

# The names of the arguments, without brackets and dots, into `names`; returns their number.
function arguments(usage, names, n, i) {
	n = split(usage, names, " ")
	for (i = 1; i <= n; i++) gsub(/[][<>.]/, "", names[i])
	return n
}

$0 == "" { end_command(); next }
!in_command {
	in_command = 1
	read_line($0)
	is_shown = shown(text)
	verb = head
	sub(/ .*/, "", verb)
	usage = substr(head, length(verb) + 2)
	if (verb == "embrun") verb = ""
	if (is_shown) command(verb, usage, text)
	next
}
is_shown { read_option($0) }
END { end_command(); finish() }

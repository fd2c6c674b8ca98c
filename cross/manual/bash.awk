# Writes the tables of the completion for bash: the options of each command, and what completes their values and the arguments.

function add(list, what) { return list (list == "" ? "" : " ") what }

function command(verb, usage, text, names, n, i) {
	current = verb
	if (verb != "") commands = add(commands, verb)
	n = arguments(usage, names)
	if (verb != "") for (i = 1; i <= n; i++) {
		how = argument_completes(verb, names[i])
		if (how != "") argument_cases = argument_cases "\t'" verb " " i "') echo '" how "' ;;\n"
	}
	order[++count] = verb
}

function option(name, letter, value, text, pattern) {
	options[current] = add(options[current], "--" name)
	if (letter != "") options[current] = add(options[current], "-" letter)
	if (value == "") return
	pattern = "'" current " --" name "'" (letter == "" ? "" : " | '" current " -" letter "'")
	how = completes(name, value, text)
	value_cases = value_cases "\t" pattern ") echo '" (how == "" ? "nothing" : how) "' ;;\n"
}

function finish(i, line) {
	while ((getline line < frame) > 0) {
		if (line != "# tables") {
			print line
			continue
		}
		print "_embrun_commands='" commands "'\n"
		print "# COMMAND: its options"
		print "_embrun_options() {\n\tcase $1 in"
		for (i = 1; i <= count; i++) print "\t'" order[i] "') echo '" options[order[i]] "' ;;"
		print "\tesac\n}\n"
		print "# COMMAND OPTION: what completes the value; nothing if the option takes none"
		printf "%s", "_embrun_value() {\n\tcase \"$1 $2\" in\n" value_cases "\tesac\n}\n\n"
		print "# COMMAND NUMBER: what completes this argument"
		printf "%s", "_embrun_argument() {\n\tcase \"$1 $2\" in\n" argument_cases "\tesac\n}\n"
	}
}

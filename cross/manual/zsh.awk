# Writes the completion for zsh: a call of _arguments for the program and for each command.

function quoted(text) {
	gsub(/'/, "'\\''", text)
	return text
}

function described(text) {
	gsub(/\[|\]|:/, "\\\\&", text)
	return quoted(text)
}

# An action of _arguments.
function action(how) {
	if (how == "file") return "_files"
	if (how == "directory") return "_files -/"
	if (how == "id") return "_embrun_ids"
	if (how == "command") return "_embrun_commands"
	return how == "" ? " " : "(" how ")"
}

function command(verb, usage, text, names, n, i) {
	close_command()
	if (verb == "") {
		calls = "\t_arguments -C -S"
		tail = " \\\n\t\t'1:command:_embrun_commands' '*::argument:->argument' && return"
		return
	}
	list = list "\t\t'" verb ":" described(text) "'\n"
	calls = calls "\t\t" verb ")\n\t\t\t_arguments -S"
	n = arguments(usage, names)
	tail = ""
	for (i = 1; i <= n; i++) {
		if (verb == "exec" && i == 2) {
			tail = tail " '*::command:_normal'"
			break
		}
		tail = tail " '" (usage ~ /\.\.\./ && i == n ? "*" : i) ":" names[i] ":" action(argument_completes(verb, names[i])) "'"
	}
	tail = tail "\n\t\t\t;;"
	sub(/^ /, " \\\n\t\t\t\t", tail)
}

function close_command() {
	calls = calls tail "\n"
	if (tail ~ /return$/) calls = calls "\troot=$opt_args[--root]\n\tcase $words[1] in\n"
	tail = ""
}

function option(name, letter, value, text, many) {
	many = sub(/\.\.\.$/, "", value)
	calls = calls " \\\n\t\t" (tail ~ /return$/ ? "" : "\t\t")
	if (letter != "") calls = calls "'" (many ? "*" : "(-" letter " --" name ")") "'{-" letter ",--" name "}'"
	else calls = calls "'" (many ? "*" : "") "--" name
	calls = calls "[" described(text) "]"
	if (value != "") calls = calls ":" described(value) ":" action(completes(name, value, text))
	calls = calls "'"
}

function finish() {
	close_command()
	print "#compdef embrun\n# Completion of embrun for zsh, generated from the table of the command line.\n"
	print "_embrun_commands() {\n\tlocal -a commands\n\tcommands=(\n" list "\t)\n\t_describe command commands\n}\n"
	print "_embrun_ids() {\n\tlocal -a ids\n\tids=(${(f)\"$(embrun ${root:+--root} ${root} list --quiet 2> /dev/null)\"})"
	print "\tcompadd -a ids\n}\n"
	print "_embrun() {\n\tlocal context state state_descr line root\n\ttypeset -A opt_args\n" calls "\tesac\n}\n"
	print "_embrun \"$@\""
}

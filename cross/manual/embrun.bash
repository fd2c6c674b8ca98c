# Completion of embrun for bash, generated from the table of the command line.

# tables

# WORD KIND [ROOT]: sets the possible words
_embrun_offer() {
	case $2 in
	'' | nothing) ;;
	file) COMPREPLY=($(compgen -f -- "$1")) ;;
	directory) COMPREPLY=($(compgen -d -- "$1")) ;;
	id) COMPREPLY=($(compgen -W "$(embrun ${3:+--root "$3"} list --quiet 2> /dev/null)" -- "$1")) ;;
	command) COMPREPLY=($(compgen -W "$_embrun_commands" -- "$1")) ;;
	*) COMPREPLY=($(compgen -W "$2" -- "$1")) ;;
	esac
}

_embrun() {
	local words=() word command='' argument=0 waiting='' root='' i
	COMPREPLY=()
	# bash splits `--name=value` at the equals sign.
	for ((i = 1; i <= COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		[ "$word" = = ] && [ "$i" -lt "$COMP_CWORD" ] || words+=("$word")
	done
	local last=$((${#words[@]} - 1))
	[ "${words[last]}" != = ] || words[last]=''
	for ((i = 0; i < last; i++)); do
		word=${words[i]}
		if [ -n "$waiting" ]; then
			[ "$waiting" != --root ] || root=$word
			waiting=''
		elif [[ $word == -* && ! ($command == exec && $argument -gt 0) ]]; then
			[ -z "$(_embrun_value "$command" "$word")" ] || waiting=$word
		elif [ -z "$command" ]; then
			command=$word
		else
			argument=$((argument + 1))
		fi
	done
	word=${words[last]}
	if [ -n "$waiting" ]; then
		_embrun_offer "$word" "$(_embrun_value "$command" "$waiting")"
	elif [[ $word == -* ]]; then
		COMPREPLY=($(compgen -W "$(_embrun_options "$command")" -- "$word"))
	elif [ -z "$command" ]; then
		_embrun_offer "$word" command
	else
		_embrun_offer "$word" "$(_embrun_argument "$command" $((argument + 1)))" "$root"
	fi
}
complete -o filenames -F _embrun embrun

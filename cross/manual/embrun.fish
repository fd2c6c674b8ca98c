# Prints the command so far, then the number of its arguments and the state directory, a line each.
function __embrun_words
	set -l command ''
	set -l root ''
	set -l count 0
	set -l waiting ''
	for word in (commandline -opc)[2..-1]
		if test -n "$waiting"
			test "$waiting" = --root; and set root $word
			set waiting ''
		else if string match -q -- '-*' $word; and not test "$command" = exec -a $count -gt 0
			contains -- $word (__embrun_with_value $command); and set waiting $word
		else if test -z "$command"
			set command $word
		else
			set count (math $count + 1)
		end
	end
	printf '%s\n' "$command" $count "$root"
end

# COMMAND [NUMBER]: whether the words so far are of this command and the next one is this argument
function __embrun_at
	set -l words (__embrun_words)
	test "$words[1]" = "$argv[1]"; or return 1
	set -q argv[2]; or return 0
	test -z "$argv[1]"; and return 0
	test (math $words[2] + 1) = $argv[2]
end

function __embrun_ids
	set -l root (__embrun_words)[3]
	if test -n "$root"
		embrun --root $root list --quiet 2> /dev/null
	else
		embrun list --quiet 2> /dev/null
	end
end

complete -c embrun -f

# Turns the rows of weigh.sh into the table of report.py: machine, filter, embrun's peak RSS in KB, and its ratio to Debian's
# crun for the peak, run, create, exec and delete.
BEGIN { FS = " *\\| *"; OFS = "\t" }
/^\| [^|]*, / {
	key = $2 OFS $4
	split($3, name, " ")
	for (i = 5; i <= 10; i++) value[key, name[1], i] = $i + 0
	if (name[1] == "embrun") order[++n] = key
}
END {
	for (k = 1; k <= n; k++) {
		line = order[k] OFS value[order[k], "embrun", 5] " KB"
		for (i = 5; i <= 10; i++)
			if (i != 6) line = line OFS (value[order[k], "crun", i] ? sprintf("%.2f", value[order[k], "embrun", i] / value[order[k], "crun", i]) : "-")
		print line
	}
}

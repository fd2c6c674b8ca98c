// interleave: runs commands in turn, round by round, so that all of them meet the same load.
// usage: interleave ROUNDS WARMUP < CASES
// A case is a line of four fields between tabs: label, what to do before, what to time, what to do after; @ stands for a
// number that is new each time. Before and after are done by sh, the timed words by execve itself, with /dev/null as
// standard streams. Prints label, wall time and CPU time in microseconds (the command's own and of every child that it
// waited for), peak resident size in KiB, and the exit status.
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
enum { CASES = 64, LONG = 4096, WORDS = 64 };
static char *cases[CASES][4];

static void fill(char *to, const char *from, long number) {
	size_t used = 0;
	for (; *from && used < LONG - 24; from++)
		used += *from == '@' ? sprintf(to + used, "%ld", number) : (to[used] = *from, 1);
	to[used] = 0;
}

static void shell(const char *template, long number) {
	char line[LONG];
	if (!*template)
		return;
	fill(line, template, number);
	if (system(line))
		fprintf(stderr, "interleave: failed: %s\n", line);
}

static long now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

static void measure(char **one, long number, int report, posix_spawn_file_actions_t *streams) {
	char line[LONG], *words[WORDS], *rest = line, *word;
	int n = 0, status;
	struct rusage used;
	pid_t pid;
	shell(one[1], number);
	fill(line, one[2], number);
	while (n < WORDS - 1 && (word = strsep(&rest, " ")))
		if (*word)
			words[n++] = word;
	words[n] = 0;
	long start = now();
	int error = posix_spawn(&pid, words[0], streams, 0, words, environ);
	if (error) {
		fprintf(stderr, "interleave: %s: %s\n", words[0], strerror(error));
		exit(1);
	}
	wait4(pid, &status, 0, &used);
	long wall = now() - start;
	long cpu = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000L + used.ru_utime.tv_usec + used.ru_stime.tv_usec;
	if (report)
		printf("%s\t%ld\t%ld\t%ld\t%d\n", one[0], wall, cpu, used.ru_maxrss,
			WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	shell(one[3], number);
}

int main(int argc, char **argv) {
	if (argc != 3) {
		fputs("usage: interleave ROUNDS WARMUP < CASES\n", stderr);
		return 2;
	}
	int rounds = atoi(argv[1]), warmup = atoi(argv[2]), count = 0;
	char *line = 0;
	size_t size = 0;
	ssize_t length;
	while (count < CASES && (length = getline(&line, &size, stdin)) > 0) {
		line[length - 1] = 0;
		char *rest = strdup(line);
		for (int field = 0; field < 4; field++)
			if (!(cases[count][field] = strsep(&rest, "\t"))) {
				fprintf(stderr, "interleave: not four fields: %s\n", line);
				return 2;
			}
		count++;
	}
	posix_spawn_file_actions_t streams;
	posix_spawn_file_actions_init(&streams);
	for (int fd = 0; fd < 3; fd++)
		posix_spawn_file_actions_addopen(&streams, fd, "/dev/null", O_RDWR, 0);
	long number = 0;
	// Each round starts with another case, so that none always follows the same.
	for (int round = -warmup; round < rounds; round++)
		for (int i = 0; i < count; i++)
			measure(cases[(i + round + warmup) % count], number++, round >= 0, &streams);
	return 0;
}

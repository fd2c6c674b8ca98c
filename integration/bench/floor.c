// floor: the kernel's own share of `run` for the configuration of `embrun spec`, and nothing else: no configuration is
// read, no path is checked, no lock is taken. It shows what no runtime can go below by much; it is not a proven minimum.
// usage: floor ROOTFS ID    State goes to /run/embrun-floor, cgroups to /ID below every mounted hierarchy.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail(const char *what) {
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static void must(long result, const char *what) {
	if (result < 0)
		fail(what);
}

static void put(int dir, const char *file, const char *text) {
	int fd = openat(dir, file, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fail(file);
	close(fd);
}

// The hierarchies, as the v1 directories of a usual layout; or the v2 tree alone.
struct hierarchy {
	char path[256], name[32];
	int dir;
};
static struct hierarchy tree[16];
static int trees, v2;

static void find_hierarchies(void) {
	char line[1024], at[256], kind[64];
	FILE *mounts = fopen("/proc/self/mounts", "re");
	if (!mounts)
		fail("/proc/self/mounts");
	while (trees < 16 && fgets(line, sizeof line, mounts)) {
		if (sscanf(line, "%*s %255s %63s", at, kind) != 2 || strncmp(kind, "cgroup", 6))
			continue;
		v2 |= !strcmp(kind, "cgroup2");
		snprintf(tree[trees].path, sizeof tree->path, "%s", at);
		snprintf(tree[trees++].name, sizeof tree->name, "%s", strrchr(at, '/') + 1);
	}
	fclose(mounts);
}

static const struct { int major, minor; } devices[] = {{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 2}, {136, -1}};
enum { DEVICES = sizeof devices / sizeof *devices };

static void allow_devices_v1(int dir) {
	char rule[64];
	put(dir, "devices.deny", "a");
	put(dir, "devices.allow", "c *:* m");
	put(dir, "devices.allow", "b *:* m");
	for (int i = 0; i < DEVICES; i++) {
		if (devices[i].minor < 0)
			snprintf(rule, sizeof rule, "c %d:* rwm", devices[i].major);
		else
			snprintf(rule, sizeof rule, "c %d:%d rwm", devices[i].major, devices[i].minor);
		put(dir, "devices.allow", rule);
	}
}

// r4 = major, r5 = minor; return 1 for a device of the list, else 0.
static void allow_devices_v2(const char *path) {
	struct bpf_insn code[8 * DEVICES + 8];
	int n = 0;
	code[n++] = (struct bpf_insn){.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 4, .src_reg = 1, .off = 4};
	code[n++] = (struct bpf_insn){.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 5, .src_reg = 1, .off = 8};
	for (int i = 0; i < DEVICES; i++) {
		int any = devices[i].minor < 0;
		code[n++] = (struct bpf_insn){.code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = 4, .off = any ? 2 : 3, .imm = devices[i].major};
		if (!any)
			code[n++] = (struct bpf_insn){.code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = 5, .off = 2, .imm = devices[i].minor};
		code[n++] = (struct bpf_insn){.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = 1};
		code[n++] = (struct bpf_insn){.code = BPF_JMP | BPF_EXIT};
	}
	code[n++] = (struct bpf_insn){.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = 0};
	code[n++] = (struct bpf_insn){.code = BPF_JMP | BPF_EXIT};
	union bpf_attr load, attach;
	memset(&load, 0, sizeof load);
	load.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	load.insns = (uintptr_t)code;
	load.insn_cnt = n;
	load.license = (uintptr_t) "Apache-2.0";
	int program = syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load);
	must(program, "BPF_PROG_LOAD");
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(dir, path);
	memset(&attach, 0, sizeof attach);
	attach.target_fd = dir;
	attach.attach_bpf_fd = program;
	attach.attach_type = BPF_CGROUP_DEVICE;
	attach.attach_flags = BPF_F_ALLOW_MULTI;
	must(syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach), "BPF_PROG_ATTACH");
	close(program);
	close(dir);
}

static void make_cgroups(const char *id) {
	for (int i = 0; i < trees; i++) {
		struct hierarchy *h = &tree[i];
		snprintf(h->path + strlen(h->path), sizeof h->path - strlen(h->path), "/%s", id);
		must(mkdir(h->path, 0755), h->path);
		must(h->dir = open(h->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), h->path);
		if (!strcmp(h->name, "cpuset")) {
			char value[64];
			for (int k = 0; k < 2; k++) {
				const char *file = k ? "cpuset.mems" : "cpuset.cpus";
				char above[64];
				snprintf(above, sizeof above, "../%s", file);
				int fd = openat(h->dir, above, O_RDONLY | O_CLOEXEC);
				ssize_t n = read(fd, value, sizeof value - 1);
				must(n, above);
				close(fd);
				value[n] = 0;
				put(h->dir, file, value);
			}
		}
		if (!strcmp(h->name, "devices"))
			allow_devices_v1(h->dir);
	}
	if (v2 && trees == 1)
		allow_devices_v2(tree[0].path);
}

static void mount_on(const char *kind, const char *at, unsigned long flags, const char *data) {
	must(mount(kind, at, kind, flags, data), at);
}

static void make_dev(void) {
	static const struct { const char *name; int major, minor; } nodes[] = {
		{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};
	static const char *links[][2] = {{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"},
		{"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"}};
	char path[64];
	umask(0);
	for (unsigned i = 0; i < sizeof nodes / sizeof *nodes; i++) {
		snprintf(path, sizeof path, "dev/%s", nodes[i].name);
		must(mknod(path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)), path);
	}
	umask(022);
	for (unsigned i = 0; i < sizeof links / sizeof *links; i++) {
		snprintf(path, sizeof path, "dev/%s", links[i][1]);
		must(symlink(links[i][0], path), path);
	}
}

static void make_mounts(const char *rootfs) {
	const unsigned long safe = MS_NOSUID | MS_NOEXEC | MS_NODEV;
	must(mount(0, "/", 0, MS_REC | MS_SLAVE, 0), "slave");
	must(mount(rootfs, rootfs, 0, MS_BIND | MS_REC, 0), rootfs);
	must(chdir(rootfs), rootfs);
	mount_on("proc", "proc", 0, 0);
	mount_on("tmpfs", "dev", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
	must(mkdir("dev/pts", 0755) | mkdir("dev/shm", 01777) | mkdir("dev/mqueue", 0755), "mkdir");
	mount_on("devpts", "dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
	mount_on("tmpfs", "dev/shm", safe, "mode=1777,size=65536k");
	mount_on("mqueue", "dev/mqueue", safe, 0);
	mount_on("sysfs", "sys", safe | MS_RDONLY, 0);
	if (v2 && trees == 1) {
		mount_on("cgroup2", "sys/fs/cgroup", safe | MS_RELATIME, 0);
	} else {
		mount_on("tmpfs", "sys/fs/cgroup", safe, "mode=755");
		for (int i = 0; i < trees; i++) {
			char at[64];
			snprintf(at, sizeof at, "sys/fs/cgroup/%s", tree[i].name);
			must(mkdir(at, 0755), at);
			must(mount(tree[i].path, at, 0, MS_BIND, 0), at);
			must(mount(0, at, 0, MS_BIND | MS_REMOUNT | MS_RDONLY | safe, 0), at);
		}
	}
	must(mount(0, "sys/fs/cgroup", 0, MS_BIND | MS_REMOUNT | MS_RDONLY | safe, 0), "cgroup ro");
	make_dev();
	must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
	must(umount2(".", MNT_DETACH), "umount");
	must(chdir("/"), "/");
	must(mount(0, "/", 0, MS_BIND | MS_REMOUNT | MS_RDONLY, 0), "root ro");
}

static void confine(void) {
	static const char *readonly[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
	static const char *masked[] = {"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"};
	struct stat s;
	for (unsigned i = 0; i < sizeof readonly / sizeof *readonly; i++)
		if (!mount(readonly[i], readonly[i], 0, MS_BIND | MS_REC, 0))
			must(mount(0, readonly[i], 0, MS_BIND | MS_REMOUNT | MS_RDONLY, 0), readonly[i]);
	for (unsigned i = 0; i < sizeof masked / sizeof *masked; i++) {
		if (stat(masked[i], &s))
			continue;
		if (S_ISDIR(s.st_mode))
			mount_on("tmpfs", masked[i], MS_RDONLY, "nr_blocks=1,nr_inodes=2");
		else
			must(mount("/dev/null", masked[i], 0, MS_BIND, 0), masked[i]);
	}
	must(sethostname("floor", 5), "sethostname");
	int s4 = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq up = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	must(ioctl(s4, SIOCSIFFLAGS, &up), "lo");
	close(s4);
	struct rlimit files = {1024, 1024};
	must(setrlimit(RLIMIT_NOFILE, &files), "rlimit");
	uint32_t keep = 1u << CAP_AUDIT_WRITE | 1u << CAP_KILL | 1u << CAP_NET_BIND_SERVICE;
	for (int c = 0; c <= CAP_LAST_CAP; c++)
		if (c > 31 || !(keep >> c & 1))
			prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct sets[2] = {{keep, keep, 0}, {0, 0, 0}};
	must(syscall(SYS_capset, &head, sets), "capset");
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
}

int main(int argc, char **argv) {
	if (argc != 3) {
		fputs("usage: floor ROOTFS ID\n", stderr);
		return 2;
	}
	char state[128], file[160], text[256];
	mkdir("/run/embrun-floor", 0700);
	snprintf(state, sizeof state, "/run/embrun-floor/%s", argv[2]);
	snprintf(file, sizeof file, "%s/state", state);
	must(mkdir(state, 0700), state);
	find_hierarchies();
	make_cgroups(argv[2]);

	int go[2];
	must(pipe2(go, O_CLOEXEC), "pipe");
	struct clone_args clone = {
		.flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS,
		.exit_signal = SIGCHLD,
	};
	if (v2 && trees == 1) {
		clone.flags |= CLONE_INTO_CGROUP;
		clone.cgroup = tree[0].dir;
	}
	pid_t child = syscall(SYS_clone3, &clone, sizeof clone);
	must(child, "clone3");
	if (!child) {
		char c;
		must(read(go[0], &c, 1), "go");
		make_mounts(argv[1]);
		confine();
		setsid();
		syscall(SYS_close_range, 3, ~0u, 4 /* CLOEXEC */);
		char *args[] = {"true", 0}, *env[] = {"PATH=/bin", 0};
		execve("/bin/true", args, env);
		fail("/bin/true");
	}
	snprintf(text, sizeof text, "%d", child);
	if (!(v2 && trees == 1))
		for (int i = 0; i < trees; i++)
			put(tree[i].dir, "cgroup.procs", text);
	int fd = open(file, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	must(write(fd, text, strlen(text)), file);
	close(fd);
	must(write(go[1], "g", 1), "go");
	int status;
	must(waitpid(child, &status, 0), "wait");
	for (int i = 0; i < trees; i++)
		must(rmdir(tree[i].path), tree[i].path);
	unlink(file);
	rmdir(state);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

"""Parts of the harness: commands, waiting, listeners of a broker, ptys, and the times that processes wait for a processor."""
import glob, json, os, subprocess, threading, time, tty


def sh(command, **more):
    return subprocess.run(command, check=True, text=True, capture_output=True, **more).stdout


def eventually(what, look, seconds=60, pause=0.05):
    """Waits until `look` returns something, and returns that."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(pause)


class Listener:
    """All messages of a broker, kept by their topics with the time of arrival."""

    def __init__(self, command):
        self.messages = {}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace")
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            topic, _, payload = line.rstrip("\n").partition(" ")
            try:
                self.messages.setdefault(topic, []).append((time.time(), json.loads(payload)))
            except ValueError:
                pass  # not of a service

    def of(self, kind):
        return [m for _, m in self.messages.get(f"sites/a/{kind}", [])]

    def last(self, kind):
        found = self.of(kind)
        return found[-1] if found else None


class Pty:
    """A pty: its slave stands for a serial line, its master for the device at the other end."""

    def __init__(self):
        self.master, slave = os.openpty()
        tty.setraw(slave)
        # It stays open, so that the line does not hang up while the service restarts.
        self.slave, self.path = slave, os.ttyname(slave)
        self.value, self.written = "20.0", b""

    def feed(self):
        while True:
            os.write(self.master, f"{self.value}\n".encode())
            time.sleep(0.02)

    def drain(self):
        while True:
            self.written += os.read(self.master, 4096)

    def start(self, work):
        threading.Thread(target=work, daemon=True).start()
        return self


class Waits:
    """The times that the threads of some processes waited for a processor, sampled a hundred times a second."""

    def __init__(self, pids):
        self.pids, self.waited, self.found, self.over = pids, {}, [], False
        self.before = time.time()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.sample()
        self.thread.start()

    def sample(self):
        """Adds what each thread has waited since the last sample (Documentation/scheduler/sched-stats.rst)."""
        now = time.time()
        for pid in self.pids:
            for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
                try:
                    with open(path) as f:
                        waited = int(f.read().split()[1]) / 1e6
                except (FileNotFoundError, ProcessLookupError):
                    continue  # the thread has ended
                if waited > self.waited.get(path, waited):
                    self.found.append((self.before, now, waited - self.waited[path]))
                self.waited[path] = waited
        self.before = now

    def work(self):
        while not self.over:
            self.sample()
            time.sleep(0.01)

    def stop(self):
        self.over = True
        self.thread.join()
        self.sample()

    def longest(self, begin, end, count):
        """The sum of the longest waits in a period, in milliseconds. The kernel counts a wait when it ends."""
        return sum(sorted(ms for first, last, ms in self.found if first <= end and last >= begin)[-count:])

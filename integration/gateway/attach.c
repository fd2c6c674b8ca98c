/* Attaches the disk that disk.py serves as /dev/nbd0, and returns once it is attached. It stays in the background as long as the disk.
 * usage: attach ADDRESS PORT MEGABYTES */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/nbd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(int count, char **words)
{
	struct sockaddr_in server = { .sin_family = AF_INET };
	int disk = open("/dev/nbd0", O_RDWR), connection = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	if (count != 4 || inet_pton(AF_INET, words[1], &server.sin_addr) != 1)
		return fprintf(stderr, "usage: attach ADDRESS PORT MEGABYTES\n"), 2;
	server.sin_port = htons(atoi(words[2]));
	if (disk < 0)
		return fail("attach: /dev/nbd0");
	if (connection < 0 || connect(connection, (struct sockaddr *)&server, sizeof server))
		return fail("attach: connect");
	setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (ioctl(disk, NBD_SET_BLKSIZE, 512UL) || ioctl(disk, NBD_SET_SIZE_BLOCKS, strtoul(words[3], NULL, 10) << 11) ||
	    ioctl(disk, NBD_CLEAR_SOCK) || ioctl(disk, NBD_SET_SOCK, connection) ||
	    ioctl(disk, NBD_SET_FLAGS, (unsigned long)(NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH)))
		return fail("attach: /dev/nbd0");
	if (fork())
		return 0;
	setsid();
	ioctl(disk, NBD_DO_IT);
	ioctl(disk, NBD_CLEAR_QUE);
	ioctl(disk, NBD_CLEAR_SOCK);
	return 0;
}

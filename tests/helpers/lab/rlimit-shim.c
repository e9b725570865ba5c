/*
 * Lets CRIU dump other users' processes on a machine whose bounding set lacks CAP_SYS_RESOURCE. There the kernel refuses to tell
 * another user's resource limits (prlimit64 with EPERM), though anyone with ptrace rights can read them from /proc/PID/limits.
 * CRIU calls prlimit64 through glibc's syscall(), so that is what this library stands in for: every call goes to the kernel as it
 * is; only a refused query is answered from /proc. Setting a limit is never faked. For the lab only, by LD_PRELOAD.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The line of /proc/PID/limits that holds a resource. */
static const char *const line_of[RLIM_NLIMITS] = {
	[RLIMIT_CPU] = "Max cpu time",
	[RLIMIT_FSIZE] = "Max file size",
	[RLIMIT_DATA] = "Max data size",
	[RLIMIT_STACK] = "Max stack size",
	[RLIMIT_CORE] = "Max core file size",
	[RLIMIT_RSS] = "Max resident set",
	[RLIMIT_NPROC] = "Max processes",
	[RLIMIT_NOFILE] = "Max open files",
	[RLIMIT_MEMLOCK] = "Max locked memory",
	[RLIMIT_AS] = "Max address space",
	[RLIMIT_LOCKS] = "Max file locks",
	[RLIMIT_SIGPENDING] = "Max pending signals",
	[RLIMIT_MSGQUEUE] = "Max msgqueue size",
	[RLIMIT_NICE] = "Max nice priority",
	[RLIMIT_RTPRIO] = "Max realtime priority",
	[RLIMIT_RTTIME] = "Max realtime timeout",
};

static rlim_t parse_limit(const char *text)
{
	return strcmp(text, "unlimited") == 0 ? RLIM_INFINITY : strtoull(text, NULL, 10);
}

/* Reads one limit of a process from /proc; returns whether it was found. */
static int read_limit(pid_t pid, unsigned int resource, struct rlimit *limit)
{
	char path[32], line[128], soft[32], hard[32];
	int found = 0;
	FILE *limits;

	if (resource >= RLIM_NLIMITS)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/limits", (int)pid);
	limits = fopen(path, "re");
	if (!limits)
		return 0;
	while (!found && fgets(line, sizeof(line), limits)) {
		size_t length = strlen(line_of[resource]);

		if (strncmp(line, line_of[resource], length) == 0 &&
		    sscanf(line + length, "%31s %31s", soft, hard) == 2) {
			limit->rlim_cur = parse_limit(soft);
			limit->rlim_max = parse_limit(hard);
			found = 1;
		}
	}
	fclose(limits);
	return found;
}

/* A bare system call: the result, or minus the error number. */
static long call_kernel(long number, const long argument[6])
{
#if defined(__x86_64__)
	register long r10 __asm__("r10") = argument[3];
	register long r8 __asm__("r8") = argument[4];
	register long r9 __asm__("r9") = argument[5];
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(argument[0]), "S"(argument[1]), "d"(argument[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = argument[0];
	register long x1 __asm__("x1") = argument[1];
	register long x2 __asm__("x2") = argument[2];
	register long x3 __asm__("x3") = argument[3];
	register long x4 __asm__("x4") = argument[4];
	register long x5 __asm__("x5") = argument[5];

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
#else
#error "no system call instruction known for this architecture"
#endif
}

long syscall(long number, ...)
{
	long argument[6], result;
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		argument[i] = va_arg(list, long);
	va_end(list);

	result = call_kernel(number, argument);
	/* prlimit64(pid, resource, new, old): only a query, one with old and without new. */
	if (result == -EPERM && number == SYS_prlimit64 && !argument[2] && argument[3] &&
	    read_limit((pid_t)argument[0], (unsigned int)argument[1], (struct rlimit *)argument[3]))
		result = 0;
	if (result < 0 && result > -4096) {
		errno = (int)-result;
		return -1;
	}
	return result;
}

/* Preloaded into a process, its wall clock is off by as many seconds as stand in the file CLOCK_STEP; steady clocks are
 * not. Read at each call, so that a test can step the clock of a process that runs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t which, struct timespec *now)
{
	static int (*real)(clockid_t, struct timespec *);
	if (!real)
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	int failed = real(which, now);
	if (failed || (which != CLOCK_REALTIME && which != CLOCK_REALTIME_COARSE))
		return failed;
	FILE *file = fopen(getenv("CLOCK_STEP"), "r");
	long step_s = 0;
	if (file) {
		if (fscanf(file, "%ld", &step_s) != 1)
			step_s = 0;
		fclose(file);
	}
	now->tv_sec += step_s;
	return 0;
}

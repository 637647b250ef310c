// A service that does nothing, for the supervisors under test: it notes when its main began, says that it is ready, and
// sleeps until a signal ends it. Linked statically, so that the figures hold little of the loader.
//
//   service LOG NAME [READY_FD]     appends "NAME NANOSECONDS" (CLOCK_MONOTONIC) to LOG; a line to READY_FD; sleeps
//   service LOG NAME exec COMMAND   appends the same, then becomes COMMAND
//   service [NAME]                  the same in a directory of s6 or runit: LOG is the file `stamps` there, NAME the
//                                   directory's, READY_FD is 3 where there is a file `notification-fd`
//   service family COUNT            starts COUNT children; all sleep
//   service bare LOG COUNT          starts COUNT of `service LOG sN`; at SIGTERM signals each one's group, as a supervisor
//                                   does, waits for all, and ends: what any supervisor's start and stop take at least
//   service orphans COUNT           starts COUNT children, and leaves them when all have ended
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *cannot) {
    perror(cannot);
    exit(1);
}

static pid_t start_child(void) {
    pid_t child = fork();
    if (child < 0)
        fail("cannot fork");
    return child;
}

static void sleep_on(void) {
    for (;;)
        pause();
}

static void note(const char *log, const char *name, struct timespec began) {
    char line[128];
    int length = snprintf(line, sizeof line, "%s %lld%09ld\n", name, (long long)began.tv_sec, began.tv_nsec);
    int file = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || write(file, line, length) != length)
        fail("cannot write the log");
    close(file);
}

static void ready(int fd) {
    if (write(fd, "\n", 1) < 0)
        fail("cannot tell that it is ready");
    close(fd);
}

static void run_script(struct timespec began) {
    char directory[4096];
    if (getcwd(directory, sizeof directory) == NULL)
        fail("cannot tell the directory");
    // The bench knows services by this name.
    prctl(PR_SET_NAME, "service");
    note("stamps", strrchr(directory, '/') + 1, began);
    if (access("notification-fd", F_OK) == 0)
        ready(3);
    sleep_on();
}

static void family(int count) {
    for (int i = 0; i < count; i++)
        if (start_child() == 0)
            sleep_on();
    sleep_on();
}

static void bare(const char *self, const char *log, int count) {
    pid_t *all = calloc(count, sizeof *all);
    if (all == NULL)
        fail("cannot remember the children");
    sigset_t terminate;
    sigemptyset(&terminate);
    sigaddset(&terminate, SIGTERM);
    sigprocmask(SIG_BLOCK, &terminate, NULL);
    for (int i = 0; i < count; i++) {
        all[i] = start_child();
        if (all[i] == 0) {
            char name[16];
            snprintf(name, sizeof name, "s%d", i);
            setpgid(0, 0);
            sigprocmask(SIG_UNBLOCK, &terminate, NULL);
            execl(self, self, log, name, (char *)NULL);
            fail("cannot execute itself");
        }
    }
    int number;
    sigwait(&terminate, &number);
    for (int i = 0; i < count; i++)
        kill(-all[i], SIGTERM);
    while (wait(NULL) > 0)
        ;
}

static void orphans(int count) {
    pid_t *all = calloc(count, sizeof *all);
    if (all == NULL)
        fail("cannot remember the children");
    for (int i = 0; i < count; i++) {
        all[i] = start_child();
        if (all[i] == 0)
            _exit(0);
    }
    for (int i = 0; i < count; i++) {
        siginfo_t info;
        if (waitid(P_PID, all[i], &info, WEXITED | WNOWAIT) < 0)
            fail("cannot wait");
    }
}

int main(int argc, char **argv) {
    struct timespec began;
    clock_gettime(CLOCK_MONOTONIC, &began);
    if (argc <= 2)
        run_script(began);
    if (argc == 3 && strcmp(argv[1], "family") == 0)
        family(atoi(argv[2]));
    if (argc == 3 && strcmp(argv[1], "orphans") == 0) {
        orphans(atoi(argv[2]));
        return 0;
    }
    if (argc == 4 && strcmp(argv[1], "bare") == 0) {
        bare(argv[0], argv[2], atoi(argv[3]));
        return 0;
    }
    note(argv[1], argv[2], began);
    if (argc > 4 && strcmp(argv[3], "exec") == 0) {
        execvp(argv[4], argv + 4);
        fail("cannot execute the command");
    }
    if (argc > 3)
        ready(atoi(argv[3]));
    sleep_on();
}

/*
 * handler/script_process.c - see handler/script_process.h.
 *
 * posix_spawn() does not copy the server's page tables, which fork() would: with a model of gigabytes that is
 * the difference between half a millisecond and a hundred.
 */
#include "handler/script_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOCKET_FD 3
#define PAGE_FD   4
#define FIRST_FD  32 /* where descriptors are put out of each other's way */

static int set_up(posix_spawn_file_actions_t *files, posix_spawnattr_t *attr, int socket_fd, int page_fd)
{
    sigset_t none, defaults;
    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    int error = posix_spawn_file_actions_addopen(files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    /* dup2() onto itself would leave FD_CLOEXEC set, and one must not be closed by the other. */
    if (error == 0 && socket_fd >= 0)
        error = posix_spawn_file_actions_adddup2(files, socket_fd, SOCKET_FD);
    if (error == 0 && page_fd >= 0)
        error = posix_spawn_file_actions_adddup2(files, page_fd, PAGE_FD);
    if (error == 0)
        error = posix_spawn_file_actions_addclosefrom_np(files, page_fd >= 0     ? PAGE_FD + 1
                                                                : socket_fd >= 0 ? SOCKET_FD + 1
                                                                                 : STDERR_FILENO + 1);
    if (error == 0)
        error = posix_spawnattr_setsigmask(attr, &none);
    if (error == 0)
        error = posix_spawnattr_setsigdefault(attr, &defaults);
    if (error == 0)
        error = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    return error;
}

/* A copy of fd that is out of the way of the small numbers, or fd itself where it is -1. -1 also on error. */
static int out_of_the_way(int fd)
{
    return fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD) : -1;
}

tern_code tn_process_start(const tn_script_command *command, int socket_fd, int page_fd, tn_process *out,
                           tern_status *st)
{
    *out = (tn_process){.pidfd = -1};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    pid_t pid = 0;
    int error = posix_spawn_file_actions_init(&files);
    if (error != 0)
        return tern_fail(st, TERN_UNAVAILABLE, "Cannot start %s: %s", command->argv[0], strerror(error));
    error = posix_spawnattr_init(&attr);
    const int socket_copy = out_of_the_way(socket_fd), page_copy = out_of_the_way(page_fd);
    if (error == 0 && ((socket_fd >= 0 && socket_copy < 0) || (page_fd >= 0 && page_copy < 0)))
        error = errno;
    if (error == 0)
        error = set_up(&files, &attr, socket_copy, page_copy);
    if (error == 0)
        error = posix_spawnp(&pid, command->argv[0], &files, &attr, (char *const *)command->argv,
                             (char *const *)command->env);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    if (socket_copy >= 0)
        close(socket_copy);
    if (page_copy >= 0)
        close(page_copy);
    if (error != 0)
        return tern_fail(st, TERN_UNAVAILABLE, "Cannot start %s: %s", command->argv[0], strerror(error));
    out->pid = pid;
    out->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (out->pidfd < 0) {
        error = errno;
        tn_process_end(out);
        return tern_fail(st, TERN_UNAVAILABLE, "Cannot watch the process of %s: %s", command->argv[0],
                         strerror(error));
    }
    return TERN_OK;
}

static void clear(tn_process *p)
{
    if (p->pidfd >= 0)
        close(p->pidfd);
    *p = (tn_process){.pidfd = -1};
}

bool tn_process_ended(tn_process *p, int *how)
{
    if (p->pid <= 0)
        return false;
    pid_t got;
    do
        got = waitpid(p->pid, how, WNOHANG);
    while (got < 0 && errno == EINTR);
    if (got == 0)
        return false;
    if (got < 0)
        *how = 0;
    clear(p);
    return true;
}

void tn_process_kill(const tn_process *p)
{
    if (p->pid > 0)
        kill(p->pid, SIGKILL);
}

void tn_process_end(tn_process *p)
{
    if (p->pid <= 0)
        return;
    int how;
    kill(p->pid, SIGKILL);
    while (waitpid(p->pid, &how, 0) < 0 && errno == EINTR)
        ;
    clear(p);
}

size_t tn_process_how(int how, char *text, size_t size)
{
    int n = WIFSIGNALED(how) ? snprintf(text, size, "signal %d (%s)", WTERMSIG(how), strsignal(WTERMSIG(how)))
                             : snprintf(text, size, "exit status %d", WEXITSTATUS(how));
    return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
}

size_t tn_process_memory(const tn_process *p)
{
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/%d/statm", (int)p->pid);
    int fd = p->pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    unsigned long long total = 0, resident = 0, shared = 0;
    text[n > 0 ? n : 0] = '\0';
    if (sscanf(text, "%llu %llu %llu", &total, &resident, &shared) != 3 || resident < shared)
        return 0;
    return (size_t)(resident - shared) * (size_t)sysconf(_SC_PAGESIZE);
}

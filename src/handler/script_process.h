/*
 * handler/script_process.h - processes of workers: started, watched, ended, reaped.
 *
 * A worker has standard input from /dev/null, standard output and error of the server, descriptor 3 (its
 * socket) and 4 (its page of shared memory), and nothing else. It asks the kernel to be ended with the server
 * (PR_SET_PDEATHSIG: handler runtimes do that first thing), and ends when its socket says end of file.
 *
 * Threads: one, the one that started it.
 */
#ifndef TN_HANDLER_SCRIPT_PROCESS_H
#define TN_HANDLER_SCRIPT_PROCESS_H

#include <sys/types.h>

#include "base/str.h"

/* What is run. Both lists end with NULL; argv[0] is looked for in PATH when it has no '/'. */
typedef struct tn_script_command {
    const char *const *argv;
    const char *const *env;
} tn_script_command;

typedef struct tn_process {
    pid_t pid; /* 0: none */
    int pidfd; /* readable once it has ended */
} tn_process;

/*
 * socket_fd, page_fd: become 3 and 4; -1: none (for commands that serve nothing). Both stay the caller's.
 * UNAVAILABLE names the command and why.
 */
TERN_MUST_USE tern_code tn_process_start(const tn_script_command *command, int socket_fd, int page_fd,
                                         tn_process *out, tern_status *st);
/* Has it ended? Then it is reaped, *p cleared, and *how gets its wait status. Never waits. */
bool tn_process_ended(tn_process *p, int *how);
/* SIGKILL. It is still to be reaped. */
void tn_process_kill(const tn_process *p);
/* Kills it, waits for its end, reaps. Accepts none. */
void tn_process_end(tn_process *p);
/* "signal 9 (Killed)" or "exit status 3"; returns the length. */
size_t tn_process_how(int how, char *text, size_t size);
/* Memory of its own, not shared, in bytes; 0 when it is not to be told. */
size_t tn_process_memory(const tn_process *p);

#endif

/*
 * cli/main.c - the program `tern`.
 *
 * Prints its version; the commands are files beside this one.
 */
#include <stdio.h>

int main(void)
{
    puts("tern " TERN_VERSION);
    return 0;
}

/* cmd/lab/programs.h - sub-commands of qmt-lab that are programs of their own: what a scenario runs on a host.
 *
 * Threads: one each.   Blocks: until they end; every wait inside has a deadline or ends by a signal.
 * argv[0] is the sub-command's name. Both know --help. What a scenario waits for comes on stdout, a line an event;
 * stderr is for wrong usage.
 */
#ifndef CMD_LAB_PROGRAMS_H
#define CMD_LAB_PROGRAMS_H

/* An HTTP server that answers as its script says (upstream_script.h). Until SIGTERM or SIGINT.
 * Returns 0; 1: it cannot listen; 2: wrong usage, or a script with faults. */
int lab_upstream_main(int argc, char **argv);

/* A hostile mesh peer (peer_modes.def). Returns 0: the node refused or cut it as it must, and lives on; 1: it did not,
 * or the node could not be reached at all; 2: wrong usage. */
int lab_peer_main(int argc, char **argv);

#endif

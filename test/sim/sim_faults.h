/* test/sim/sim_faults.h - what goes wrong, by chance, and its end.
 *
 * Threads: one.   Blocks: as sim_node_stop.
 */
#ifndef TEST_SIM_FAULTS_H
#define TEST_SIM_FAULTS_H

void sim_fault(void);
/* All nodes run and none of them stands still. */
void sim_heal(void);

#endif

/* cmd/roff.h - text of a table inside a man page.
 *
 * Threads: one.   Blocks: writes to stdout.
 */
#ifndef CMD_ROFF_H
#define CMD_ROFF_H

/* The text on stdout as roff (groff_char(7), man(7)): backslashes and a control character at the begin are escaped,
 * dashes
 * are dashes. */
void roff_text(const char *text);

#endif

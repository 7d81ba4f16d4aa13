/* runtime/message_text.h - a message along its field table: for people, and to compare two of them.
 *
 * Threads: those that may look at the actors a message refers to (a seeded run).   Blocks: never.
 * Text:    `kit.poke {value: 3, ref: probe#2}`: name of the type; fields that are not absent (message.h); texts
 *          escaped, bytes in hex; an actor by its kind and the order in which it was spawned. Two messages of one
 *          type have the same text exactly when they say the same.
 */
#ifndef QMT_RUNTIME_MESSAGE_TEXT_H
#define QMT_RUNTIME_MESSAGE_TEXT_H

#include "message.h"

/* Appends it; body NULL: the name alone. Without memory buf->failed is set. */
void qmt__message_text(struct qmt_buf *buf, const struct qmt_type *type, const void *body);

#endif

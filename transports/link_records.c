/* transports/link_records.c - the tables behind link_records.h. */
#include "transports/link_records.h"

QMT_DEFINE_RECORD(link_stamp, LINK_STAMP, "A clock reading, returned as it is.")
QMT_DEFINE_RECORD(link_number, LINK_NUMBER, "Names an export.")
QMT_DEFINE_RECORD(link_piece, LINK_PIECE_FIELDS, "A piece of an envelope longer than piece_bytes.")
QMT_DEFINE_RECORD(link_error, LINK_ERROR, "Why an ask has no answer.")

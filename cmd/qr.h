/* cmd/qr.h - a text as QR code: for the terminal, as PNG, as SVG (ISO/IEC 18004; libqrencode does the coding).
 *
 * Threads: one.   Blocks: never.
 * Look:    error correction L, a quiet zone of QR_QUIET modules all round, dark on light whatever the colours of the
 *          terminal are (they are set explicitly).
 * Limit:   QR_TEXT bytes (version 40-L).
 */
#ifndef CMD_QR_H
#define CMD_QR_H

#include "runtime/base/bytes.h"
#include "runtime/base/err.h"

enum { QR_TEXT = 2953, QR_QUIET = 4, QR_PNG_PIXELS = 8 /* a module's edge */ };

struct qr {
	uint32_t width;   /* modules, without the quiet zone */
	uint8_t *modules; /* width * width, 1: dark; heap */
};

/* 0; -EINVAL: empty, too long, or it holds a NUL; -ENOMEM. qr_free it. */
QMT_MUST_CHECK int qr_make(struct qmt_str text, struct qr *ret_qr, struct qmt_err *err);
void qr_free(struct qr *qr);
/* Is the module dark? Coordinates count from the quiet zone's corner; outside all is light. */
bool qr_dark(const struct qr *qr, uint32_t x, uint32_t y);

/* Append to out; look at out->failed. Terminal: UTF-8 with SGR sequences, two rows of modules in a line. */
void qr_terminal(const struct qr *qr, struct qmt_buf *out);
void qr_png(const struct qr *qr, struct qmt_buf *out);
void qr_svg(const struct qr *qr, struct qmt_buf *out);

#endif

/* cmd/qr.c - drawing is a few lines each, so there is no picture library: the PNG is not compressed (RFC 1951, stored
 * blocks), which for one bit a pixel is a few ten kilobytes. */
#include "cmd/qr.h"

#include <errno.h>
#include <qrencode.h>

int qr_make(struct qmt_str text, struct qr *ret_qr, struct qmt_err *err)
{
	char copy[QR_TEXT + 1];
	struct qr qr = {0};
	QRcode *code;

	if (text.len == 0 || text.len > QR_TEXT || memchr(text.p, '\0', text.len))
		return qmt_err_set(err, -EINVAL, "a QR code holds 1 to %d bytes of text, this has %u", QR_TEXT, text.len);
	memcpy(copy, text.p, text.len);
	copy[text.len] = '\0';
	code = QRcode_encodeString(copy, 0, QR_ECLEVEL_L, QR_MODE_8, 1);
	explicit_bzero(copy, sizeof copy);
	if (!code)
		return errno == ERANGE ? qmt_err_set(err, -EINVAL, "too long for a QR code")
							   : qmt_err_set(err, -ENOMEM, "out of memory");
	qr.width = (uint32_t)code->width;
	qr.modules = malloc((size_t)qr.width * qr.width);
	for (size_t i = 0; qr.modules && i < (size_t)qr.width * qr.width; i++)
		qr.modules[i] = code->data[i] & 1;
	QRcode_free(code);
	if (!qr.modules)
		return qmt_err_set(err, -ENOMEM, "out of memory");
	*ret_qr = qr;
	return 0;
}

void qr_free(struct qr *qr)
{
	free(qr->modules);
	*qr = (struct qr){0};
}

bool qr_dark(const struct qr *qr, uint32_t x, uint32_t y)
{
	if (x < QR_QUIET || y < QR_QUIET || x - QR_QUIET >= qr->width || y - QR_QUIET >= qr->width)
		return false;
	return qr->modules[(size_t)(y - QR_QUIET) * qr->width + (x - QR_QUIET)];
}

static uint32_t whole_width(const struct qr *qr)
{
	return qr->width + 2 * QR_QUIET;
}

void qr_terminal(const struct qr *qr, struct qmt_buf *out)
{
	static const char *const halves[] = {" ", "\u2580", "\u2584", "\u2588"}; /* none, upper, lower, both dark */
	uint32_t width = whole_width(qr);

	for (uint32_t y = 0; y < width; y += 2) {
		qmt_buf_str(out, "\033[38;5;16;48;5;231m"); /* black on white, of the fixed part of the 256 colours */
		for (uint32_t x = 0; x < width; x++)
			qmt_buf_str(out, halves[(qr_dark(qr, x, y) ? 1 : 0) | (qr_dark(qr, x, y + 1) ? 2 : 0)]);
		qmt_buf_str(out, "\033[0m\n");
	}
}

void qr_svg(const struct qr *qr, struct qmt_buf *out)
{
	uint32_t width = whole_width(qr);

	qmt_buf_printf(out,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %u %u\" width=\"%u\" height=\"%u\" "
		"shape-rendering=\"crispEdges\">\n<rect width=\"%u\" height=\"%u\" fill=\"#fff\"/>\n<path fill=\"#000\" d=\"",
		width, width, width * QR_PNG_PIXELS, width * QR_PNG_PIXELS, width, width);
	for (uint32_t y = 0; y < width; y++)
		for (uint32_t x = 0; x < width; x++) {
			uint32_t run = 0;
			while (qr_dark(qr, x + run, y))
				run++;
			if (run)
				qmt_buf_printf(out, "M%u %uh%uv1h-%uz", x, y, run, run);
			x += run;
		}
	qmt_buf_str(out, "\"/>\n</svg>\n");
}

/* ---- PNG (ISO/IEC 15948) ------------------------------------------------------------------------------------- */

static uint32_t crc(const void *data, size_t len)
{
	const uint8_t *bytes = data;
	uint32_t value = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		value ^= bytes[i];
		for (int bit = 0; bit < 8; bit++)
			value = value >> 1 ^ (value & 1 ? UINT32_C(0xedb88320) : 0);
	}
	return ~value;
}

static uint32_t adler(const uint8_t *data, size_t len)
{
	uint32_t a = 1, b = 0;

	for (size_t i = 0; i < len; i++) {
		a = (a + data[i]) % 65521;
		b = (b + a) % 65521;
	}
	return b << 16 | a;
}

static void put32(struct qmt_buf *out, uint32_t value)
{
	const uint8_t bytes[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};

	qmt_buf_append(out, bytes, sizeof bytes);
}

static void chunk(struct qmt_buf *out, const char *type, const struct qmt_buf *data)
{
	size_t start;

	put32(out, (uint32_t)data->len);
	start = out->len;
	qmt_buf_append(out, type, 4);
	if (data->len)
		qmt_buf_append(out, data->data, data->len);
	if (!out->failed)
		put32(out, crc(out->data + start, out->len - start));
}

/* Rows of one bit a pixel, each behind a filter byte. */
static void png_rows(const struct qr *qr, struct qmt_buf *out)
{
	uint32_t pixels = whole_width(qr) * QR_PNG_PIXELS;

	for (uint32_t y = 0; y < pixels; y++) {
		qmt_buf_append(out, "\0", 1);
		for (uint32_t x = 0; x < pixels; x += 8) { /* QR_PNG_PIXELS is 8: a byte is a module */
			uint8_t byte = qr_dark(qr, x / QR_PNG_PIXELS, y / QR_PNG_PIXELS) ? 0 : 0xff;
			qmt_buf_append(out, &byte, 1);
		}
	}
}
_Static_assert(QR_PNG_PIXELS == 8, "png_rows writes a module as a byte");

/* zlib's frame (RFC 1950) around stored blocks. */
static void store_blocks(const struct qmt_buf *data, struct qmt_buf *out)
{
	enum { BLOCK = 65535 };

	qmt_buf_append(out, "\x78\x01", 2);
	for (size_t at = 0; at < data->len; at += BLOCK) {
		size_t len = data->len - at < BLOCK ? data->len - at : BLOCK;
		const uint8_t head[5] = {
			at + len == data->len, (uint8_t)len, (uint8_t)(len >> 8), (uint8_t)~len, (uint8_t)(~len >> 8)};
		qmt_buf_append(out, head, sizeof head);
		qmt_buf_append(out, data->data + at, len);
	}
	put32(out, adler((const uint8_t *)data->data, data->len));
}

void qr_png(const struct qr *qr, struct qmt_buf *out)
{
	struct qmt_buf head = {0}, rows = {0}, packed = {0}, nothing = {0};
	uint32_t pixels = whole_width(qr) * QR_PNG_PIXELS;

	put32(&head, pixels);
	put32(&head, pixels);
	qmt_buf_append(&head, "\1\0\0\0\0", 5); /* 1 bit, grey, deflate, no interlace */
	png_rows(qr, &rows);
	if (!rows.failed)
		store_blocks(&rows, &packed);
	out->failed |= head.failed || rows.failed || packed.failed;
	qmt_buf_append(out, "\x89PNG\r\n\x1a\n", 8);
	chunk(out, "IHDR", &head);
	chunk(out, "IDAT", &packed);
	chunk(out, "IEND", &nothing);
	qmt_buf_free(&head);
	qmt_buf_free(&rows);
	qmt_buf_free(&packed);
}

/* actors/provider/openai_url.c - see openai_url.h. */
#include "openai_url.h"

#include <curl/curl.h>
#include <errno.h>

static void url_cleanup(CURLU **url)
{
	curl_url_cleanup(*url);
}

static bool has_part(CURLU *url, CURLUPart part)
{
	char *text = NULL;
	bool has = curl_url_get(url, part, &text, 0) == CURLUE_OK;

	curl_free(text);
	return has;
}

static int set_path(CURLU *url, const char *endpoint)
{
	struct qmt_buf path = {0};
	char *text = NULL;
	CURLUcode code = curl_url_get(url, CURLUPART_PATH, &text, 0);
	size_t len = code == CURLUE_OK ? strlen(text) : 0;

	while (len > 0 && text[len - 1] == '/')
		len--;
	qmt_buf_append(&path, text, len);
	qmt_buf_printf(&path, "/%s", endpoint);
	curl_free(text);
	code = path.failed ? CURLUE_OUT_OF_MEMORY : curl_url_set(url, CURLUPART_PATH, path.data, 0);
	qmt_buf_free(&path);
	return code == CURLUE_OK ? 0 : -ENOMEM;
}

int openai_url(const char *base_url, const char *endpoint, char **ret_url, struct qmt_err *err)
{
	QMT_CLEANUP(url_cleanup) CURLU *url = curl_url();
	CURLUcode code = url ? curl_url_set(url, CURLUPART_URL, base_url, 0) : CURLUE_OUT_OF_MEMORY;
	char *text = NULL;

	if (code != CURLUE_OK && code != CURLUE_OUT_OF_MEMORY)
		return qmt_err_set(err, -EINVAL, "base_url: %s", curl_url_strerror(code));
	if (url && has_part(url, CURLUPART_USER))
		return qmt_err_set(err, -EINVAL, "base_url: holds a user name; put the key into api_key");
	if (url && has_part(url, CURLUPART_FRAGMENT))
		return qmt_err_set(err, -EINVAL, "base_url: holds a fragment (#…)");
	if (code != CURLUE_OK || set_path(url, endpoint) < 0 || curl_url_get(url, CURLUPART_URL, &text, 0) != CURLUE_OK)
		return qmt_err_set(err, -ENOMEM, "out of memory");
	*ret_url = qmt_str_dup(qmt_str(text));
	curl_free(text);
	return *ret_url ? 0 : qmt_err_set(err, -ENOMEM, "out of memory");
}

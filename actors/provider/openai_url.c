/* actors/provider/openai_url.c - see openai_url.h. */
#include "openai_url.h"

#include <errno.h>

#include "curl_api.h"

static bool has_part(const struct curl_api *curl, CURLU *url, CURLUPart part)
{
	char *text = NULL;
	bool has = curl->curl_url_get(url, part, &text, 0) == CURLUE_OK;

	curl->curl_free(text);
	return has;
}

static int set_path(const struct curl_api *curl, CURLU *url, const char *endpoint)
{
	struct qmt_buf path = {0};
	char *text = NULL;
	CURLUcode code = curl->curl_url_get(url, CURLUPART_PATH, &text, 0);
	size_t len = code == CURLUE_OK ? strlen(text) : 0;

	while (len > 0 && text[len - 1] == '/')
		len--;
	qmt_buf_append(&path, text, len);
	qmt_buf_printf(&path, "/%s", endpoint);
	curl->curl_free(text);
	code = path.failed ? CURLUE_OUT_OF_MEMORY : curl->curl_url_set(url, CURLUPART_PATH, path.data, 0);
	qmt_buf_free(&path);
	return code == CURLUE_OK ? 0 : -ENOMEM;
}

static int make(const struct curl_api *curl, CURLU *url, const char *base_url, const char *endpoint, char **ret_url,
	struct qmt_err *err)
{
	CURLUcode code = url ? curl->curl_url_set(url, CURLUPART_URL, base_url, 0) : CURLUE_OUT_OF_MEMORY;
	char *text = NULL;

	if (code != CURLUE_OK && code != CURLUE_OUT_OF_MEMORY)
		return qmt_err_set(err, -EINVAL, "base_url: %s", curl->curl_url_strerror(code));
	if (url && has_part(curl, url, CURLUPART_USER))
		return qmt_err_set(err, -EINVAL, "base_url: holds a user name; put the key into api_key");
	if (url && has_part(curl, url, CURLUPART_FRAGMENT))
		return qmt_err_set(err, -EINVAL, "base_url: holds a fragment (#…)");
	if (code != CURLUE_OK || set_path(curl, url, endpoint) < 0 ||
		curl->curl_url_get(url, CURLUPART_URL, &text, 0) != CURLUE_OK)
		return qmt_err_set(err, -ENOMEM, "out of memory");
	*ret_url = qmt_str_dup(qmt_str(text));
	curl->curl_free(text);
	return *ret_url ? 0 : qmt_err_set(err, -ENOMEM, "out of memory");
}

int openai_url(const char *base_url, const char *endpoint, char **ret_url, struct qmt_err *err)
{
	struct curl_api curl;
	CURLU *url;
	int rc = curl_api_open(&curl, err);

	if (rc)
		return rc;
	url = curl.curl_url();
	rc = make(&curl, url, base_url, endpoint, ret_url, err);
	curl.curl_url_cleanup(url);
	return rc;
}

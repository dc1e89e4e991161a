/* Lines for people, on stderr, above the progress bar. Any thread. Library code returns its errors (base/error.h);
 * the log is for what happens along the way and for warnings that do not end the work. */
#ifndef OC_BASE_LOG_H
#define OC_BASE_LOG_H

typedef enum { OC_LOG_ERROR, OC_LOG_WARN, OC_LOG_INFO, OC_LOG_DEBUG } oc_log_level;

void oc_log_set_level(oc_log_level level); /* prints this level and what is graver; OC_LOG_INFO at start */
oc_log_level oc_log_get_level(void);

/* One line; control characters become '?'. Errors and warnings begin with "ocellus: error: " or "ocellus: warning: ". */
void oc_log(oc_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif

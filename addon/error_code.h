#ifndef HTTP_PROXY_SOCKMAP_ERROR_CODE_H
#define HTTP_PROXY_SOCKMAP_ERROR_CODE_H

#include <uv.h>

// "ECONNRESET" and the like, as Node names them; empty for 0.
inline const char* ErrorCode(int error) { return error == 0 ? "" : uv_err_name(-error); }

#endif

-- Functions of the C library that Kong declares for everybody: plugins call them through `ffi.C`
-- without declaring them again (file-log does).

local ffi = require "ffi"

ffi.cdef [[
typedef unsigned char u_char;
typedef long time_t;
typedef int clockid_t;
typedef struct timespec { time_t tv_sec; long tv_nsec; } nanotime;
int clock_gettime(clockid_t clk_id, struct timespec *tp);
int open(const char * filename, int flags, ...);
size_t read(int fd, void *buf, size_t count);
int write(int fd, const void *ptr, int numbytes);
int close(int fd);
char *strerror(int errnum);
int gethostname(char *name, size_t len);
char *getenv(const char *name);
int setenv(const char *name, const char *value, int overwrite);
]]

return ffi.C

// HEDDLE_HD marks the few functions that host and device share.
#pragma once

#ifdef __CUDACC__
#define HEDDLE_HD __host__ __device__
#else
#define HEDDLE_HD
#endif

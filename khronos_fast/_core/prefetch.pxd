# Asking the processor to fetch a line of memory that will be needed soon. Any address will do; nothing is read.

cdef extern from *:
    """
    #ifdef _MSC_VER
      #include <intrin.h>
      #if defined(_M_X64) || defined(_M_IX86)
        #define kf_prefetch(address) _mm_prefetch((const char *)(address), _MM_HINT_T0)
      #else
        #define kf_prefetch(address) __prefetch(address)
      #endif
      #define kf_prefetch_to_write(address) kf_prefetch(address)
    #else
      #define kf_prefetch(address) __builtin_prefetch(address)
      #define kf_prefetch_to_write(address) __builtin_prefetch(address, 1)
    #endif
    """
    void prefetch "kf_prefetch"(const void *address) noexcept nogil
    void prefetch_to_write "kf_prefetch_to_write"(const void *address) noexcept nogil

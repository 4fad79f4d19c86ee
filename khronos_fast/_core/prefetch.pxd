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
      #ifdef __x86_64__
        /* Unless the compiler is told of a processor that has this instruction, its built-in fetches a line to read,
           it has to be asked for again. Where the instruction is missing it does nothing. */
        #define kf_prefetch_to_write(address) __asm__ volatile("prefetchw %0" : : "m"(*(const char *)(address)))
      #else
        #define kf_prefetch_to_write(address) __builtin_prefetch(address, 1)
      #endif
    #endif
    """
    void prefetch "kf_prefetch"(const void *address) noexcept nogil
    void prefetch_to_write "kf_prefetch_to_write"(const void *address) noexcept nogil

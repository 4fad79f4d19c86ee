# Text, eight bytes at a time: as a number whose lowest byte is the first one.

from libc.stdint cimport uint32_t, uint64_t

cdef extern from *:
    """
    #include <string.h>
    #ifdef _MSC_VER
      #include <intrin.h>
      static inline unsigned kf_lowest_bit_of_word(uint64_t x) {
          unsigned long i;
          if (_BitScanForward(&i, (unsigned long)x)) return (unsigned)i;
          _BitScanForward(&i, (unsigned long)(x >> 32));
          return (unsigned)i + 32;
      }
    #else
      #define kf_lowest_bit_of_word(x) ((unsigned)__builtin_ctzll(x))
    #endif
    /* Eight bytes as a number, the first of them lowest. */
    static inline uint64_t kf_load(const char *at) {
        uint64_t word;
        memcpy(&word, at, 8);
    #if PY_BIG_ENDIAN
        word = __builtin_bswap64(word);
    #endif
        return word;
    }
    /* Near the end of a text of eight bytes or more: its last word, without what precedes the place; then zeros. */
    static inline uint64_t kf_word_at(const char *at, const char *end) {
        return end - at >= 8 ? kf_load(at) : kf_load(end - 8) >> 8 * (8 - (end - at));
    }
    /* The highest bit of each byte that is the one. Above the first such byte one more may be set, below it none.
       (Mycroft's test for zeros.) */
    static inline uint64_t kf_word_hits(uint64_t word, char byte) {
        word ^= (unsigned char)byte * 0x0101010101010101u;
        return (word - 0x0101010101010101u) & ~word & 0x8080808080808080u;
    }
    """
    uint32_t lowest_bit_of_word "kf_lowest_bit_of_word"(uint64_t bits) noexcept nogil
    uint64_t word_at "kf_word_at"(const char *at, const char *end) noexcept nogil
    uint64_t word_hits "kf_word_hits"(uint64_t word, char byte) noexcept nogil

cdef enum:
    WORD = 8    # bytes

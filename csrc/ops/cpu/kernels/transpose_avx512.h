/* to[j][i] = from[i][j] for a block of 16 x 16 elements of four bytes: within pairs of rows, within fours, then the
 * quarters of the vectors.                                                                                       */
TARGET static inline void transpose(void *to, size_t to_pitch, const void *from, size_t from_pitch)
{
    __m512i r[16], t[16];
    for (int i = 0; i < 16; i++)
        r[i] = _mm512_loadu_si512((const char *)from + 4 * (size_t)i * from_pitch);
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) {
            r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + 2 + j]);
            r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + 2 + j]);
        }
    for (int j = 0; j < 4; j++) {
        __m512i even = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88), odd = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xDD);
        __m512i even2 = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
        __m512i odd2 = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xDD);
        t[j] = _mm512_shuffle_i32x4(even, even2, 0x88);
        t[4 + j] = _mm512_shuffle_i32x4(odd, odd2, 0x88);
        t[8 + j] = _mm512_shuffle_i32x4(even, even2, 0xDD);
        t[12 + j] = _mm512_shuffle_i32x4(odd, odd2, 0xDD);
    }
    for (int j = 0; j < 16; j++)
        _mm512_storeu_si512((char *)to + 4 * (size_t)j * to_pitch, t[j]);
}

#include <cpuid.h>
#include <string.h>

#include "CWorkload.h"

int workload_has_avx(void) {
  unsigned eax, ebx, ecx, edx;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return 0;
  return (ecx & bit_OSXSAVE) && (ecx & bit_AVX);
}

#define EACH(do) do(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7) do(8) do(9) do(10) do(11) do(12) do(13) do(14) do(15)
#define LOAD_AVX(n) "vmovdqu 32*" #n "(%[words]), %%ymm" #n "\n\t"
#define STORE_AVX(n) "vmovdqu %%ymm" #n ", 32*" #n "(%[found])\n\t"
#define LOAD_SSE(n) "movdqu 32*" #n "(%[words]), %%xmm" #n "\n\t"
#define STORE_SSE(n) "movdqu %%xmm" #n ", 32*" #n "(%[found])\n\t"
#define EIGHT(do) do(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7)
#define PUSH(n) "fildq 8*" #n "(%[integers])\n\t"
#define POP(n) "fistpq 8*" #n "(%[popped])\n\t"

/* Everything in one piece, so that the compiler has no chance to use a register in between. */
#define HOLD(load, store, last) \
  __asm__ volatile( \
      "stmxcsr %[usual]\n\t" \
      "ldmxcsr %[wanted]\n\t" EIGHT(PUSH) EACH(load) \
      "mov %[spins], %%rbx\n\t" \
      "1: pause\n\tdec %%rbx\n\tjnz 1b\n\t" \
      "mov $35, %%eax\n\t" /* nanosleep */ \
      "mov %[time], %%rdi\n\t" \
      "xor %%esi, %%esi\n\t" \
      "syscall\n\t" \
      "mov %[spins], %%rbx\n\t" \
      "2: pause\n\tdec %%rbx\n\tjnz 2b\n\t" EACH(store) EIGHT(POP) \
      "stmxcsr %[control]\n\t" \
      "ldmxcsr %[usual]\n\t" last \
      : [usual] "=m"(usual_control), [control] "=m"(found_control) \
      : [words] "r"(words), [found] "r"(found), [integers] "r"(integers), [popped] "r"(popped), [spins] "r"(spins), \
        [time] "r"(&time), [wanted] "m"(wanted_control) \
      : "rax", "rbx", "rcx", "rdi", "rsi", "r11", "memory", "cc", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", \
        "st(6)", "st(7)", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15")

uint32_t workload_hold_registers(const uint64_t *words, int with_avx, uint64_t spins,
                                 int64_t sleep_nanoseconds) {
  uint64_t found[WORKLOAD_REGISTER_WORDS];
  int64_t integers[8], popped[8];
  struct { int64_t seconds, nanoseconds; } time = {0, sleep_nanoseconds};
  /* All exceptions masked, rounding towards zero: nothing else in this program sets it. */
  uint32_t wanted_control = 0x7f80, usual_control, found_control;
  for (int i = 0; i < 8; i++) integers[i] = (int64_t)(words[i] >> 12);
  if (with_avx)
    HOLD(LOAD_AVX, STORE_AVX, "vzeroupper");
  else
    HOLD(LOAD_SSE, STORE_SSE, "");

  uint32_t changed = 0;
  for (int i = 0; i < 16; i++)
    if (memcmp(found + 4 * i, words + 4 * i, with_avx ? 32 : 16) != 0) changed |= 1u << i;
  /* The low 6 bits are flags that arithmetic raises. */
  if ((found_control & ~0x3fu) != (wanted_control & ~0x3fu)) changed |= 1u << 16;
  for (int i = 0; i < 8; i++)
    if (popped[i] != integers[7 - i]) changed |= 1u << 17;
  return changed;
}

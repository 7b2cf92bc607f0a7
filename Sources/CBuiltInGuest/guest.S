// The built-in guest. Assembled as data of this program: an ELF64 file, headers included, loaded at 1 MiB.
//
// Level 0 is tiny and uses integer instructions only, because some hosts emulate it one instruction at a time; all work
// is done at level 3, which they run natively. Level 3 asks level 0 for something by ud2 with a number in rax: other
// ways down do not work on such hosts, and ports can be used at level 0 only.
//
//   Parts/layout.inc    where everything is
//   Parts/boot.inc      ELF headers, PVH entry, entry of further CPUs, descriptor tables
//   Parts/kernel.inc    level 0: interrupts, requests
//   Parts/start.inc     level 3: command line, memory, clock, starting the other CPUs
//   Parts/work.inc      level 3: dirty, check, report
//   Parts/vectors.inc   level 3: known values in the vector registers
//   Parts/text.inc      level 3: lines for the serial port
//   Parts/data.inc      parameters and texts

#include "Parts/layout.inc"
#include "Parts/boot.inc"
#include "Parts/kernel.inc"
#include "Parts/start.inc"
#include "Parts/work.inc"
#include "Parts/vectors.inc"
#include "Parts/text.inc"
#include "Parts/data.inc"

    .section .note.GNU-stack, "", @progbits

internal import MigrationStream

/// What keeps a guest of one machine from going on in another: pure, one sentence.
enum MachineComparison {
    /// The first difference that matters, as the destination says it; nil if there is none.
    static func obstacle(here: MachineDescription, stream: MachineDescription) -> String? {
        if here.cpuCount != stream.cpuCount {
            return "The machine has \(here.cpuCount) virtual CPUs here and \(stream.cpuCount) in the stream."
        }
        let surplus = stream.devices.filter { !here.devices.contains($0) }
        let missing = here.devices.filter { !stream.devices.contains($0) }
        if !surplus.isEmpty || !missing.isEmpty {
            let there = surplus.isEmpty ? [] : ["the source has \(list(surplus)), which this machine does not have"]
            let lacking = missing.isEmpty ? [] : ["this machine has \(list(missing)), which the source does not have"]
            let text = (there + lacking).joined(separator: ", and ")
            return text.prefix(1).uppercased() + text.dropFirst() + "."
        }
        let features = missingFeatures(here: here.processor, stream: stream.processor)
        if features.isEmpty { return nil }
        return "The guest may use \(list(features)) of the source's processor, which this host's does not have."
    }

    /// Features that the guest sees at the source and would not see here.
    private static func missingFeatures(
        here: [MachineDescription.ProcessorWord], stream: [MachineDescription.ProcessorWord]
    ) -> [String] {
        stream.flatMap { word in
            let own = here.first { $0.leaf == word.leaf && $0.subleaf == word.subleaf && $0.register == word.register }
            let missing = word.bits & ~(own?.bits ?? 0)
            return (0..<32).filter { missing >> UInt32($0) & 1 == 1 }.map { ProcessorFeatureNames.name(word, bit: $0) }
        }
    }

    /// "a, b and c", of many the first few.
    private static func list(_ names: [String]) -> String {
        let shown = names.prefix(6)
        let rest = names.count - shown.count
        if rest > 0 { return shown.joined(separator: ", ") + " and \(rest) more" }
        guard let last = shown.last, shown.count > 1 else { return shown.first ?? "" }
        return shown.dropLast().joined(separator: ", ") + " and " + last
    }
}

/// What bits of CPUID are called, as Linux calls them in /proc/cpuinfo.
enum ProcessorFeatureNames {
    /// The name of a bit; its place in CPUID if nobody has named it here.
    static func name(_ word: MachineDescription.ProcessorWord, bit: Int) -> String {
        let known = words.first { $0.leaf == word.leaf && word.subleaf == 0 && $0.register == word.register }
        if let name = known?.names[bit] { return name }
        return "CPUID \(hexadecimal(word.leaf))\(word.subleaf == 0 ? "" : ".\(word.subleaf)") "
            + "\(word.register) bit \(bit)"
    }

    private static func hexadecimal(_ value: UInt32) -> String { "0x" + String(value, radix: 16) }

    private struct Word: Sendable {
        let leaf: UInt32
        let register: MachineDescription.ProcessorWord.Register
        let names: [Int: String]
    }

    private static let words = [
        Word(
            leaf: 1, register: .ecx,
            names: [
                0: "sse3", 1: "pclmulqdq", 9: "ssse3", 12: "fma", 13: "cx16", 17: "pcid", 19: "sse4_1", 20: "sse4_2",
                21: "x2apic", 22: "movbe", 23: "popcnt", 24: "tsc_deadline_timer", 25: "aes", 26: "xsave", 28: "avx",
                29: "f16c", 30: "rdrand",
            ]),
        Word(
            leaf: 1, register: .edx,
            names: [
                0: "fpu", 4: "tsc", 6: "pae", 8: "cx8", 9: "apic", 11: "sep", 12: "mtrr", 15: "cmov", 16: "pat",
                19: "clflush", 23: "mmx", 24: "fxsr", 25: "sse", 26: "sse2",
            ]),
        Word(
            leaf: 7, register: .ebx,
            names: [
                0: "fsgsbase", 1: "tsc_adjust", 3: "bmi1", 4: "hle", 5: "avx2", 7: "smep", 8: "bmi2", 9: "erms",
                10: "invpcid", 11: "rtm", 16: "avx512f", 17: "avx512dq", 18: "rdseed", 19: "adx", 20: "smap",
                21: "avx512ifma", 23: "clflushopt", 24: "clwb", 28: "avx512cd", 29: "sha_ni", 30: "avx512bw",
                31: "avx512vl",
            ]),
        Word(
            leaf: 7, register: .ecx,
            names: [
                1: "avx512vbmi", 2: "umip", 3: "pku", 6: "avx512_vbmi2", 8: "gfni", 9: "vaes", 10: "vpclmulqdq",
                11: "avx512_vnni", 12: "avx512_bitalg", 14: "avx512_vpopcntdq", 16: "la57", 22: "rdpid",
                27: "movdiri", 28: "movdir64b",
            ]),
        Word(
            leaf: 7, register: .edx,
            names: [
                4: "fsrm", 8: "avx512_vp2intersect", 10: "md_clear", 14: "serialize", 22: "amx_bf16",
                23: "avx512_fp16", 24: "amx_tile", 25: "amx_int8", 26: "spec_ctrl", 27: "intel_stibp",
                28: "flush_l1d", 29: "arch_capabilities", 31: "spec_ctrl_ssbd",
            ]),
        Word(
            leaf: 0x8000_0001, register: .ecx,
            names: [
                0: "lahf_lm", 4: "cr8_legacy", 5: "abm", 6: "sse4a", 7: "misalignsse", 8: "3dnowprefetch", 11: "xop",
                16: "fma4", 21: "tbm", 23: "perfctr_core",
            ]),
        Word(
            leaf: 0x8000_0001, register: .edx,
            names: [11: "syscall", 20: "nx", 22: "mmxext", 25: "fxsr_opt", 26: "pdpe1gb", 27: "rdtscp", 29: "lm"]),
    ]
}

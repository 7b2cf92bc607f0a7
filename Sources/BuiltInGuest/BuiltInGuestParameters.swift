/// What the built-in guest is told on its command line.
public struct BuiltInGuestParameters: Equatable, Sendable {
    /// A limit in MiB a second.
    public enum Rate: Equatable, Sendable {
        case mebibytesPerSecond(Int)
        case unlimited
    }

    /// Which pages are dirtied.
    public enum Pattern: Equatable, Sendable {
        /// One after the other.
        case sequential
        /// Anywhere in the region.
        case random
        /// Anywhere in the first part of the region.
        case hot(mebibytes: Int)
    }

    /// Kinds of vector registers.
    public enum VectorRegisters: String, Sendable {
        case sse
        case avx
    }

    /// What happens at the end.
    public enum Ending: String, Sendable {
        /// Stops with interrupts off.
        case halt
        /// Resets by port 0x64, then by a triple fault.
        case reset
        /// ACPI's S5 where there is a generic event device, else as `reset`.
        case powerOff = "poweroff"
    }

    /// The memory that is dirtied and checked, in MiB; nil: all there is.
    public var regionMebibytes: Int?
    public var dirtyRate = Rate.mebibytesPerSecond(20)
    public var checkRate = Rate.mebibytesPerSecond(200)
    public var pattern = Pattern.sequential
    /// How many virtual CPUs work, 1 to 64; they must exist.
    public var cpuCount = 1
    /// How long it runs; nil: for ever.
    public var seconds: Int?
    /// Milliseconds between two lines.
    public var period = 1000
    public var ending = Ending.reset
    /// Sleeps when there is nothing to do, which spares the host's CPU; the longest gap is then a timer's period.
    public var sleepsWhenIdle = false
    /// The TSC's frequency in kHz; nil: measured against the PIT, which is a few percent off on a busy host.
    public var tscFrequency: Int?
    /// Watches no more than these registers, though there are. nil: all that are in force.
    ///
    /// A QEMU moves those that KVM says it supports. A KVM that emulates guest kernel code may not say so of registers
    /// that its guests see and use, and QEMU then loses them: `.sse` is what every peer carries.
    public var vectors: VectorRegisters?
    /// Instead of all this: dirty exactly so many pages, a line before and after each pass, for ever.
    public var touchedPageCount: Int?

    public init() {}

    /// The command line.
    public var commandLine: String {
        var words: [String] = []
        if let regionMebibytes { words.append("region=\(regionMebibytes)") }
        words.append("rate=\(dirtyRate.word) check=\(checkRate.word)")
        switch pattern {
        case .sequential: words.append("pattern=seq")
        case .random: words.append("pattern=random")
        case .hot(let mebibytes): words.append("pattern=hot hot=\(mebibytes)")
        }
        words.append("cpus=\(cpuCount) period=\(period) end=\(ending.rawValue)")
        if let seconds { words.append("seconds=\(seconds)") }
        if sleepsWhenIdle { words.append("idle=halt") }
        if let tscFrequency { words.append("tsc=\(tscFrequency)") }
        if let vectors { words.append("vectors=\(vectors.rawValue)") }
        if let touchedPageCount { words.append("touch=\(touchedPageCount)") }
        return words.joined(separator: " ")
    }
}

extension BuiltInGuestParameters.Rate {
    fileprivate var word: String {
        switch self {
        case .mebibytesPerSecond(let rate): String(rate)
        case .unlimited: "max"
        }
    }
}

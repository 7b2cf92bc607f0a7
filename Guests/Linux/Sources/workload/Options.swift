import Glibc

/// How memory is chosen to be written.
enum Pattern: String {
    case sequential
    case random
}

/// What the workload does. Words `key=value` are its arguments, or `workload.key=value` on the kernel's command line.
struct Options {
    /// MB/s to dirty over all threads; 0 dirties nothing, `max` as much as the processors can.
    var rate = 20.0
    var pattern = Pattern.random
    /// MiB that are filled and checked.
    var memory = 64
    /// MiB of those that are written after that; all when 0.
    var hot = 0
    /// MB/s of pages to check beside those that are about to be written.
    var check = 10.0
    /// Dirtying threads; one for each processor when 0.
    var threads = 0
    /// Microseconds between two looks at the clock; 0 looks all the time, which takes a processor.
    var clock = 1000
    /// Milliseconds between two ticks with the guest's clock on `tickPort`; none when 0.
    var tick = 0
    var tickPort = "/dev/hvc0"
    /// Milliseconds of the period of each processor's timer; none when 0.
    var timer = 20
    var holdsRegisters = true
    /// Whether to answer on the network.
    var serves = getpid() == 1
    /// Disks to write, with commas between; none when empty. Only the guest's first program takes one that it was not
    /// told to.
    var disk = getpid() == 1 ? "/dev/vda" : ""
    /// MB/s to write to each disk, and the MiB at its start that are used.
    var diskRate = 1.0
    var diskArea = 16

    /// Takes every word it knows; returns those of its own that it does not.
    mutating func read(_ words: [Substring]) -> [Substring] {
        words.filter { word in
            guard let equals = word.firstIndex(of: "=") else { return true }
            return !set(word[..<equals], to: String(word[word.index(after: equals)...]))
        }
    }

    mutating func set(_ key: Substring, to value: String) -> Bool {
        switch key {
        case "rate": return Self.assign(Self.megabytes(value), to: &rate)
        case "pattern": return Self.assign(Pattern(rawValue: value), to: &pattern)
        case "memory": return Self.assign(Int(value), to: &memory)
        case "hot": return Self.assign(Int(value), to: &hot)
        case "check": return Self.assign(Self.megabytes(value), to: &check)
        case "threads": return Self.assign(Int(value), to: &threads)
        case "clock": return Self.assign(Int(value), to: &clock)
        case "tick": return Self.assign(Int(value), to: &tick)
        case "tick_port": return Self.assign(value, to: &tickPort)
        case "timer": return Self.assign(Int(value), to: &timer)
        case "registers": return Self.assign(value == "on", to: &holdsRegisters)
        case "network": return Self.assign(value == "on", to: &serves)
        case "disk": return Self.assign(value, to: &disk)
        case "disk_rate": return Self.assign(Self.megabytes(value), to: &diskRate)
        case "disk_area": return Self.assign(Int(value), to: &diskArea)
        default: return false
        }
    }

    static func megabytes(_ value: String) -> Double? {
        value == "max" ? .infinity : Double(value).flatMap { $0 >= 0 ? $0 : nil }
    }

    private static func assign<Value>(_ value: Value?, to target: inout Value) -> Bool {
        guard let value else { return false }
        target = value
        return true
    }

    /// From the kernel's command line if this is the guest's first program, and from the arguments.
    static func fromEnvironment() -> (options: Options, unknown: [Substring]) {
        var options = Options()
        var unknown: [Substring] = []
        if getpid() == 1, let line = contents(of: "/proc/cmdline") {
            let own = line.split { $0 == " " || $0 == "\n" }.filter { $0.hasPrefix("workload.") }
            unknown += options.read(own.map { $0.dropFirst("workload.".count) })
        }
        unknown += options.read(CommandLine.arguments.dropFirst().map { Substring($0) })
        return (options, unknown)
    }
}

/// The text of a small file, or nil.
func contents(of path: String) -> String? {
    let descriptor = open(path, O_RDONLY)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 65536)
    let count = read(descriptor, &bytes, bytes.count)
    return count < 0 ? nil : String(decoding: bytes[..<count], as: UTF8.self)
}

import Glibc
import Synchronization

/// Commands over the serial line: `rate MB|max`, `hot MiB`, `pattern sequential|random`, `say TEXT`,
/// `spoil` (a bit, to see that it is noticed), `poweroff`, `reboot`. Each is answered by a line.
struct Console: Sendable {
    let controls: Controls
    let options: Options
    let end: @Sendable (_ restarts: Bool) -> Void

    func read() {
        while let line = readLine() {
            let words = line.split(separator: " ", maxSplits: 1)
            guard let verb = words.first else { continue }
            let value = words.count > 1 ? String(words[1]) : ""
            say("workload: \(obey(verb, value) ? "did" : "unknown or wrong:") \(line)")
        }
    }

    private func obey(_ verb: Substring, _ value: String) -> Bool {
        switch verb {
        case "rate":
            guard let rate = Options.megabytes(value) else { return false }
            controls.rate.store(Controls.thousandths(rate), ordering: .relaxed)
        case "hot":
            guard let hot = Int(value), (1...options.memory).contains(hot) else { return false }
            controls.hotPages.store(hot * 256, ordering: .relaxed)
        case "pattern":
            guard let pattern = Pattern(rawValue: value) else { return false }
            controls.isSequential.store(pattern == .sequential, ordering: .relaxed)
        case "say": break
        case "spoil": controls.spoils.store(true, ordering: .relaxed)
        case "poweroff": end(false)
        case "reboot": end(true)
        default: return false
        }
        return true
    }
}

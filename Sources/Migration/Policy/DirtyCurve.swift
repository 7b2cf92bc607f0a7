internal import Glibc

/// How many bytes the guest dirties in a given time, from what passes of different lengths saw.
///
/// A guest that writes into a working set of W bytes, at first r new bytes a second, dirties
///
///     U(t) = W · (1 - exp(-r t / W))
///
/// Two passes of different lengths determine W and r. With one, or when their rates do not fall with time, the curve is
/// the straight line through the newest: U(t) = u t / T.
struct DirtyCurve: Equatable, Sendable {
    private var older: Point?
    private var newest: Point?

    private struct Point: Equatable {
        var seconds: Double
        var byteCount: Double
    }

    /// Takes in what was dirtied during a pass.
    mutating func add(duration: Duration, dirtiedByteCount: Int) {
        let seconds = duration.inSeconds
        guard seconds > 0 else { return }
        older = newest
        newest = Point(seconds: seconds, byteCount: Double(dirtiedByteCount))
    }

    /// The bytes that the guest dirties in `seconds`, 0 while nothing was seen.
    func dirtiedByteCount(in seconds: Double) -> Double {
        guard let newest else { return 0 }
        if let (workingSet, decay) = saturation { return workingSet * (1 - exp(-decay * seconds)) }
        return newest.byteCount * seconds / newest.seconds
    }

    /// W in bytes and r / W per second, nil when the two passes do not determine them.
    private var saturation: (workingSet: Double, decay: Double)? {
        guard let older, let newest, older.byteCount > 0, newest.byteCount > 0 else { return nil }
        let (short, long) = older.seconds < newest.seconds ? (older, newest) : (newest, older)
        guard long.seconds > short.seconds * 1.05 else { return nil }
        // The rate must fall with time, and a longer pass cannot dirty less of one working set.
        let straight = long.byteCount / long.seconds / (short.byteCount / short.seconds)
        guard straight < 0.98, long.byteCount > short.byteCount else {
            // Saturated: both saw the whole working set.
            guard straight < 0.98 else { return nil }
            return (long.byteCount, 8 / short.seconds)
        }
        // short/long = (1 - exp(-x s)) / (1 - exp(-x l)) grows with x from s/l to 1: bisect for x = r / W.
        let target = short.byteCount / long.byteCount
        var low = 1e-9 / long.seconds
        var high = 60 / short.seconds
        for _ in 0..<60 {
            let middle = (low * high).squareRoot()
            let ratio = (1 - exp(-middle * short.seconds)) / (1 - exp(-middle * long.seconds))
            if ratio < target { low = middle } else { high = middle }
        }
        return (short.byteCount / (1 - exp(-low * short.seconds)), low)
    }
}

internal import CLinux

/// Which processors a thread runs on.
///
/// All that the process's first thread may use, as it was started or was told since (taskset, a control group), unless it
/// is kept to some of them.
public enum ThreadPlacement {
    /// Keeps the calling thread to every `count`-th of these processors, from number `index` of them on; whether there
    /// are so many.
    ///
    /// Parts made of every second processor or the like have each a share of every cache and memory node.
    @discardableResult public static func keep(toPart index: Int, of count: Int) -> Bool {
        precondition(0 <= index && index < count, "part \(index) of \(count)")
        return clinux_keep_to_processors(Int32(index), Int32(clamping: count)) == 0
    }

    /// Lets the calling thread run on all of them.
    public static func release() { keep(toPart: 0, of: 1) }
}

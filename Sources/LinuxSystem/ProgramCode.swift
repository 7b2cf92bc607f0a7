internal import CLinux

/// The program's own code in memory.
public enum ProgramCode {
    /// Reads all of it in that has not run yet, once: what has to be quick is not to wait for the program's file.
    ///
    /// Where the kernel cannot (before Linux 5.14), code is read when it first runs, as ever.
    public static func populate() { _ = once }

    private static let once = clinux_populate_code()
}

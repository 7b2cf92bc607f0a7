internal import CLinux

/// A tap interface that is made and dropped at once, to see whether one can be.
public enum TapTrial {
    /// - Throws: ENOENT without the tun module, EPERM without CAP_NET_ADMIN.
    public static func run() throws(SystemError) { _ = try check(clinux_try_tap(), "/dev/net/tun") }
}

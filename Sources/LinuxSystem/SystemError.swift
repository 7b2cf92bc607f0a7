internal import CLinux
internal import Glibc

/// A system call that failed: which call, on what, and the kernel's number.
public struct SystemError: Error, Equatable, CustomStringConvertible {
    /// The call as the manual names it: "open", "connect".
    public let call: String
    /// What it was done to: a path, an address. Empty when there is nothing to name.
    public let subject: String
    /// The kernel's error number, positive.
    public let number: Int32

    public init(call: String, subject: String = "", number: Int32) {
        self.call = call
        self.subject = subject
        self.number = number
    }

    /// Whether the peer of a socket or pipe has closed it: it will neither read nor write any more.
    public var isPeerGone: Bool { number == EPIPE || number == ECONNRESET }

    public var description: String {
        let reason = String(cString: strerror(number))
        return subject.isEmpty ? "\(call): \(reason)" : "\(call) \(subject): \(reason)"
    }
}

/// Returns `result` when it is no error, else throws the number it carries.
///
/// The shims of `CLinux` give `-errno`; this is the one place that turns it into an error. A wrong descriptor or a
/// wrong address is this program's own mistake, so EBADF and EFAULT stop it.
package func check<Result: BinaryInteger & SignedInteger>(
    _ result: Result, _ call: @autoclosure () -> String, _ subject: @autoclosure () -> String = ""
) throws(SystemError) -> Result {
    if result >= 0 { return result }
    let number = Int32(-result)
    precondition(number != EBADF && number != EFAULT, "\(call()) \(subject()): errno \(number)")
    throw SystemError(call: call(), subject: subject(), number: number)
}

extension SystemError {
    /// EINVAL, for those who cannot see the C library.
    public static var invalidArgument: Int32 { EINVAL }
    /// EIO.
    public static var inputOutput: Int32 { EIO }
    /// ENOSPC.
    public static var noSpace: Int32 { ENOSPC }

    /// ENODEV or ENOENT: what was named is not there.
    public var isMissingDevice: Bool { number == ENODEV || number == ENOENT }

    /// Whether the kernel or the file system does not know what was asked.
    public var isUnsupported: Bool { number == EOPNOTSUPP || number == ENOSYS || number == ENOTTY || number == EINVAL }
}

import Devices
import LinuxSystem
import Monitor
import Storage
import Synchronization

/// The disk images of one `apus run`.
final class DiskShelf: Sendable {
    private let images: [DiskImage]
    private let reporter = Mutex<(@Sendable (String, Bool, SystemError) -> Void)?>(nil)
    /// Disks that have had an error, each of which is said once.
    private let failed = Mutex<Set<Int>>([])

    /// Opens the images, all or none, and takes their locks unless another has them for now.
    init(_ options: [DiskOption], takesLocks: Bool) throws {
        images = try options.map { try DiskImage(path: $0.path, isReadOnly: $0.isReadOnly) }
        // A read-only disk is nobody's alone: its lock is held from the start.
        for image in images where takesLocks || image.isReadOnly { try image.takeLock() }
    }

    /// Sets what hears of errors: the disk's name, whether it was a write, the error. Called on the disk's thread.
    func onFailure(_ report: @escaping @Sendable (String, Bool, SystemError) -> Void) {
        reporter.withLock { $0 = report }
    }

    func makeDevices() -> [BlockDevice] {
        images.enumerated().map { index, image in
            BlockDevice(backend: image) { [weak self] error in self?.report(index, error) }
        }
    }

    private func report(_ index: Int, _ error: SystemError) {
        let name = Self.name(index)
        if failed.withLock({ $0.insert(index).inserted }) {
            say("apus: disk \(images[index].path): \(error.reason); the guest sees an error of its disk.")
        }
        reporter.withLock { $0 }?(name, !error.call.hasPrefix("pread") && !error.call.hasPrefix("read"), error)
    }

    private static func name(_ index: Int) -> String { "virtio\(index)" }

    /// What `query-block` tells.
    var information: [BlockDeviceInformation] {
        images.enumerated().map { index, image in
            BlockDeviceInformation(
                device: Self.name(index), qdev: "/machine/peripheral-anon/device[\(index)]/virtio-backend",
                path: image.path, driver: image.isBlockDevice ? "host_device" : "raw", isReadOnly: image.isReadOnly,
                virtualSize: UInt64(image.byteCount), actualSize: image.allocatedByteCount.map { UInt64($0) },
                isActive: image.isLocked)
        }
    }
}

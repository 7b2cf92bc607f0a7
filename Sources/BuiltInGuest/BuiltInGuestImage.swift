// BuiltInGuest: a guest that needs no kernel and no firmware, the parameters it takes and the lines it prints.
//
// Read BuiltInGuestImage, BuiltInGuestParameters and BuiltInGuestLine. Pure: this module makes no system calls.

internal import CBuiltInGuest

/// The built-in guest as a file: an ELF64 executable with a PVH entry, loaded at 1 MiB.
///
/// It boots wherever a PVH kernel boots: `qemu-system-x86_64 -M microvm -kernel FILE -append "rate=50"`, and Apus. It runs at
/// memory speed also where KVM emulates guest kernel code, because it works at privilege level 3.
public enum BuiltInGuestImage {
    /// The whole file.
    public static var bytes: [UInt8] {
        // Safe: the image is constant data of this program.
        Array(UnsafeRawBufferPointer(start: cbuiltinguest_image(), count: cbuiltinguest_size()))
    }

    /// The least memory that holds the image and a region of this size, in bytes.
    public static func memorySize(regionByteCount: Int) -> Int {
        let tables = (regionByteCount / 1024 + (2 << 20) - 1) & ~((2 << 20) - 1)
        return (4 << 20) + tables + regionByteCount
    }
}

/// The devices whose state is known here by name and version.
///
/// A section carries no length. The catalog tells where the section of a known device ends, and what it holds, also
/// in streams that bring no description along, such as those of a post-copy.
public enum DeviceStateCatalog {
    /// Bytes of one section. The largest, a modern console whose every port waits, takes 25 MiB; others 64 KiB.
    public static let maximumSectionByteCount = 32 << 20

    /// Where a section ends.
    public enum Extent: Equatable, Sendable {
        /// The payload takes this many bytes.
        case complete(byteCount: Int)
        /// At least this many bytes more are needed to tell.
        case needsMore(Int)
        /// No device that is known here.
        case unknown
    }

    /// The end of the section whose payload starts `bytes`.
    ///
    /// - Parameters:
    ///   - idstr: the section's name, with the bus prefix.
    ///   - version: from the section's header.
    ///   - bytes: the payload and whatever follows it in the stream, as much as has arrived.
    ///   - isWhole: whether nothing follows `bytes`. Otherwise the answer needs one byte beyond the section, since a
    ///     subsection might follow; a stream always has one, its footer.
    /// - Throws: `StateError` if the bytes are wrong for that device.
    public static func extent(of idstr: String, version: Int, in bytes: RawSpan, isWhole: Bool = false)
        throws(StateError) -> Extent
    {
        try decode(idstr, version: version, in: bytes, isWhole: isWhole).extent
    }

    /// The same, with the state that the payload holds if it is complete.
    static func decode(_ idstr: String, version: Int, in bytes: RawSpan, isWhole: Bool = false)
        throws(StateError) -> (extent: Extent, state: (any DeviceState)?)
    {
        guard var device = device(for: idstr) else { return (.unknown, nil) }
        // A stream may have arrived far beyond the section: copy first what most take.
        var count = min(bytes.byteCount, idstr.utf8.contains(UInt8(ascii: "/")) ? 64 << 10 : 8 << 10)
        while true {
            let isAll = count == bytes.byteCount
            var coder = StateCoder(
                .load, structure: type(of: device).vmsdName, version: version, bytes: copy(bytes, count: count),
                isWhole: isWhole && isAll)
            do {
                try device.load(from: &coder)
                return (.complete(byteCount: coder.offset), device)
            } catch .truncated(let field, let offset, let missing) {
                guard count + missing <= maximumSectionByteCount else {
                    throw .limitExceeded(
                        field: field, found: UInt64(count) + UInt64(missing), limit: UInt64(maximumSectionByteCount),
                        offset: offset)
                }
                if isAll {
                    guard !isWhole else { throw .truncated(field: field, offset: offset, missing: missing) }
                    return (.needsMore(missing), nil)
                }
                count = min(bytes.byteCount, max(4 * count, count + missing))
            } catch {
                throw error
            }
        }
    }

    /// The named values of a section, by the description that is built in.
    ///
    /// It shows also the contents of virtio sections, which QEMU's description keeps to itself.
    /// - Parameter bytes: the section's whole payload.
    /// - Throws: `StateError.unknownDevice` for a device that is not known here.
    public static func values(of idstr: String, version: Int, _ bytes: [UInt8]) throws(StateError) -> StateStructure {
        guard var device = device(for: idstr) else { throw .unknownDevice(idstr, version: version) }
        var coder = StateCoder(
            .load, structure: type(of: device).vmsdName, version: version, bytes: bytes, recording: .values)
        try device.load(from: &coder)
        try coder.finish()
        return coder.recorded
    }

    /// The payload of a section, loaded into the device's state and saved from it in the same version.
    ///
    /// - Parameter bytes: the section's whole payload.
    /// - Returns: nil for a device that is not known here.
    /// - Throws: `StateError` if the bytes are wrong for that device.
    public static func reencoded(_ bytes: [UInt8], of idstr: String, version: Int) throws(StateError) -> [UInt8]? {
        guard var device = device(for: idstr) else { return nil }
        try device.load(bytes, version: version)
        return device.encoded(version: version)
    }

    /// A fresh state of the device that the section belongs to; nil if it is not known here.
    ///
    /// Virtio devices are known behind virtio-mmio only, since other transports save other registers.
    public static func device(for idstr: String) -> (any DeviceState)? {
        guard let slash = idstr.lastIndex(of: "/") else { return makers[idstr]?() }
        guard isMMIO(idstr[..<slash]) else { return nil }
        return virtioMakers[String(idstr[idstr.index(after: slash)...])]?()
    }

    /// The names of all sections that are known, without bus prefix.
    public static var names: [String] { (Array(makers.keys) + Array(virtioMakers.keys)).sorted() }

    private static let makers: [String: @Sendable () -> any DeviceState] = [
        TimerState.vmsdName: { TimerState() },
        CPUCommonState.vmsdName: { CPUCommonState() },
        CPUState.vmsdName: { CPUState() },
        TPROptimizationState.vmsdName: { TPROptimizationState() },
        LocalAPICState.vmsdName: { LocalAPICState() },
        IOAPICState.vmsdName: { IOAPICState() },
        KVMClockState.vmsdName: { KVMClockState() },
        ACPIGEDState.vmsdName: { ACPIGEDState() },
        PICState.vmsdName: { PICState() },
        PITState.vmsdName: { PITState() },
        RTCState.vmsdName: { RTCState() },
        SerialState.vmsdName: { SerialState() },
        FirmwareConfigurationState.vmsdName: { FirmwareConfigurationState() },
        GlobalState.vmsdName: { GlobalState() },
    ]

    private static let virtioMakers: [String: @Sendable () -> any DeviceState] = [
        VirtioBlockState.vmsdName: { VirtioBlockState() },
        VirtioNetState.vmsdName: { VirtioNetState() },
        VirtioEntropyState.vmsdName: { VirtioEntropyState() },
        VirtioConsoleState.vmsdName: { VirtioConsoleState() },
        VirtioBalloonState.vmsdName: { VirtioBalloonState() },
    ]

    /// `virtio-mmio@` and 16 lower-case hexadecimal digits.
    private static func isMMIO(_ prefix: Substring) -> Bool {
        let name = "virtio-mmio@"
        let digits = prefix.utf8.dropFirst(name.utf8.count)
        return prefix.hasPrefix(name) && digits.count == 16
            && digits.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }

    private static func copy(_ bytes: RawSpan, count: Int) -> [UInt8] {
        unsafe bytes.extracting(first: count).withUnsafeBytes { unsafe Array($0) }
    }
}

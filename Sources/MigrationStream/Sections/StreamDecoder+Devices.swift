extension StreamDecoder {
    /// Decodes the state of a device: finds its end, which is not on the wire.
    @_lifetime(reader: copy reader)
    mutating func decodeDeviceState(_ reader: inout StreamReader, ended: Bool) throws(StreamError) -> StreamElement {
        let section = section
        let (length, delimitation) = try deviceStateLength(in: reader.bytes, section: section, ended: ended)
        let bytes = try reader.readRange(length, "section \(section.name)")
        if section.kind == .full {
            deviceSections.append(
                DeviceSectionRecord(
                    name: section.name, instance: section.instance, version: section.version, offset: offset,
                    byteCount: length))
        }
        state = .footer
        return .deviceState(DevicePayload(section: section, bytes: bytes, delimitation: delimitation))
    }

    /// Asks the device's own layout first, and searches where that is not known or does not lead to the footer.
    private mutating func deviceStateLength(
        in bytes: RawSpan, section: SectionHeader, ended: Bool
    ) throws(StreamError) -> (Int, DevicePayload.Delimitation) {
        deviceState = nil
        let layout = layoutLength(in: bytes, section: section)
        if case .plausible(let length) = layout { return (length, .layout) }
        do throws(StreamError) {
            let length = try searchedLength(in: bytes, section: section, ended: ended)
            hasSearchedSections = true
            return (length, .search)
        } catch .truncated(let part, let offset, let missing) {
            // The layout knows better how much is missing than the search, which can only ask for a byte.
            guard case .needsMore(let count) = layout, count > missing else {
                throw .truncated(part: part, offset: offset, missing: missing)
            }
            throw .truncated(part: part, offset: offset, missing: count)
        }
    }

    private enum LayoutLength {
        case plausible(Int)
        case needsMore(Int)
        case unknown
    }

    /// How long the state is by the layout of its device, if the section's footer stands there.
    private mutating func layoutLength(in bytes: RawSpan, section: SectionHeader) -> LayoutLength {
        guard let version = Int32(exactly: section.version), section.kind == .full else { return .unknown }
        do throws(StateError) {
            let (extent, state) = try DeviceStateCatalog.decode(section.name, version: Int(version), in: bytes)
            switch extent {
            case .unknown:
                return .unknown
            case .needsMore(let count):
                return bytes.byteCount + count <= limits.maximumDeviceStateByteCount ? .needsMore(count) : .unknown
            case .complete(let length):
                guard length <= limits.maximumDeviceStateByteCount else { return .unknown }
                let missing = length + 5 - bytes.byteCount
                guard missing <= 0 else { return .needsMore(missing) }
                guard hasFooter(of: section, in: bytes, at: length) else { return .unknown }
                deviceState = state
                return .plausible(length)
            }
        } catch {
            return .unknown
        }
    }

    private mutating func searchedLength(
        in bytes: RawSpan, section: SectionHeader, ended: Bool
    ) throws(StreamError) -> Int {
        let limit = limits.maximumDeviceStateByteCount
        let last = bytes.byteCount - 5
        var position = searchedByteCount
        while position <= min(last, limit) {
            guard hasFooter(of: section, in: bytes, at: position) else {
                position += 1
                continue
            }
            switch plausibilityOfItem(in: bytes, at: position + 5, ended: ended) {
            case .plausible:
                return position
            case .implausible:
                position += 1
            case .needsMore(let count):
                searchedByteCount = position
                throw .truncated(part: "section \(section.name)", offset: offset + position, missing: count)
            }
        }
        searchedByteCount = position
        guard position <= limit else { throw .unboundedSection(section.name, offset: offset, limit: limit) }
        throw .truncated(
            part: "section \(section.name)", offset: offset + bytes.byteCount, missing: max(1, 5 - bytes.byteCount))
    }

    private func hasFooter(of section: SectionHeader, in bytes: RawSpan, at position: Int) -> Bool {
        bytes.byte(at: position) == SectionType.footer.rawValue
            && bytes.bigEndianUInt32(at: position + 1) == section.id
    }

    /// Checks the sizes of the sections that there were against the description at the stream's end.
    ///
    /// A section that the description leaves out is not checked; the description is for people, not for loading.
    func checkSections(against json: RawSpan, at jsonOffset: Int) throws(StreamError) {
        let description: VMDescription
        do throws(StateError) {
            description = try VMDescription(utf8: json.copy(0..<json.byteCount))
        } catch {
            throw .invalidDescription(offset: jsonOffset, reason: String(error.description.dropLast()))
        }
        var sizes: [SectionName: Int] = [:]
        for device in description.devices {
            sizes[SectionName(name: device.name, instance: device.instanceID)] = device.payloadByteCount
        }
        for section in deviceSections {
            let name = SectionName(name: section.name, instance: Int(section.instance))
            guard let described = sizes[name], described != section.byteCount else { continue }
            throw .sectionSizeMismatch(
                section: section.name, instance: section.instance, offset: section.offset, described: described,
                found: section.byteCount)
        }
    }

    private struct SectionName: Hashable {
        var name: String
        var instance: Int
    }
}

extension DeviceDescription {
    /// The bytes of the section's payload by this description.
    public var payloadByteCount: Int { byteCount ?? structure.byteCount }
}

extension StructureDescription {
    /// The bytes of the structure on the wire: its fields, and its subsections with their headers.
    public var byteCount: Int {
        var sum = 0
        for field in fields { sum = sum.addingClamped(field.byteCount.multipliedClamped(by: field.elementCount ?? 1)) }
        for subsection in subsections {
            sum = sum.addingClamped(6 + (subsection.name ?? "").utf8.count).addingClamped(subsection.byteCount)
        }
        return sum
    }
}

extension Int {
    fileprivate func addingClamped(_ other: Int) -> Int {
        let (sum, overflows) = addingReportingOverflow(other)
        return overflows ? .max : sum
    }

    fileprivate func multipliedClamped(by other: Int) -> Int {
        let (product, overflows) = multipliedReportingOverflow(by: other)
        return overflows ? .max : product
    }
}

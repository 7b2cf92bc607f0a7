internal import GuestMemory
internal import MigrationStream

/// What the main channel carries of a post-copy.
///
///     ADVISE … passes … DISCARD* · PING 2 · PACKAGED { LISTEN · FULL … · PING 3 · RUN } · PING 4 · PART ram · END ram · end
///
/// See QEMU migration/savevm.c and migration.c, postcopy_start.
extension MainChannel {
    static let packagePing: UInt32 = 3

    /// Tells the destination to forget all pages that are still to be sent.
    func writeDiscards(of regions: [MemoryRegion]) throws {
        for region in regions {
            let block = region.block
            var ranges: [RAMDiscard.Range] = []
            var rest = block.allPages
            while let run = block.dirtyBitmap.firstRun(in: rest) {
                ranges.append(.init(blockOffset: UInt64(run.blockOffset), byteCount: UInt64(run.byteCount)))
                rest = PageRange(first: run.end, pageCount: block.pageCount - run.end.value)
                if ranges.count == RAMDiscard.maximumRangeCount {
                    try writeDiscard(RAMDiscard(block: block.name, ranges: ranges))
                    ranges = []
                }
            }
            if !ranges.isEmpty { try writeDiscard(RAMDiscard(block: block.name, ranges: ranges)) }
        }
    }

    private func writeDiscard(_ discard: RAMDiscard) throws {
        let command = StreamCommand.postcopyDiscard(discard)
        try output.write(byteCount: command.byteCount) { command.write(into: &$0) }
    }

    /// Sends the devices and the order to run, as one package: the destination has it whole or does nothing.
    ///
    /// - Throws: If not all of it was taken, so that the destination cannot have it.
    func writePackage(_ sections: [DeviceSection]) throws {
        let commands: (before: [StreamCommand], after: [StreamCommand]) = (
            [.postcopyListen], [.ping(Self.packagePing), .postcopyRun]
        )
        let package =
            encode(commands.before) + sectionBytes(sections, firstID: Self.firstDeviceSectionID)
            + encode(commands.after)
        let header = StreamCommand.package(byteCount: package.count)
        try output.write(byteCount: header.byteCount) { header.write(into: &$0) }
        try output.append(copying: package)
        try output.flush()
    }

    /// Ends the stream of a post-copy, which has no description.
    func writePostcopyEnd() throws {
        try endSection(syncsChannels: false)
        try beginPages(.end)
        try endSection(syncsChannels: false)
        try output.write(byteCount: 1) { StreamEncoder.writeEndOfStream(into: &$0) }
        try output.flush()
    }

    private func encode(_ commands: [StreamCommand]) -> [UInt8] {
        written(commands.reduce(0) { $0 + $1.byteCount }) { writer in
            for command in commands { command.write(into: &writer) }
        }
    }
}

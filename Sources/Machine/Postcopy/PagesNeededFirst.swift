internal import CLinux
internal import Devices
internal import GuestMemory
internal import KVM
public import Migration

/// What a destination touches before the guest can go on, and what the guest touches with its first instructions there.
///
/// Each of them that is missing costs a round trip, one after the other, while the guest stands still: the rings that a
/// virtio device reads as it is loaded, the pages that KVM keeps its clock in, the tables that lead to the next
/// instruction, to the stack and to what an interrupt needs.
extension Machine {
    public func pagesNeededFirst() throws -> [RegionPages] {
        var pages = PageCollection(memory: memory, regions: regions.map(\.block))
        for (_, transport) in transportSections {
            for ring in transport.rings { pages.add(ring.address.value, byteCount: ring.byteCount) }
        }
        for cpu in threads.cpus {
            for register in try cpu.getMSRs(Self.sharedPageMSRs).registers where register.value != 0 {
                pages.add(register.value & ~63)
            }
            try add(entryAddresses(of: cpu), of: cpu, to: &pages)
        }
        return pages.all
    }

    /// Where the guest wants KVM to write: wall clock, clock, asynchronous page faults, steal time, end of interrupt.
    private static let sharedPageMSRs: [UInt32] = [0x4B56_4D00, 0x4B56_4D01, 0x4B56_4D02, 0x4B56_4D03, 0x4B56_4D04]
    private static let kernelGSBaseMSR: UInt32 = 0xC000_0102

    /// Linear addresses at which a virtual CPU goes on, or is interrupted.
    private func entryAddresses(of cpu: KVMVirtualCPU) throws -> [UInt64] {
        let registers = try cpu.getRegisters()
        let special = try cpu.getSpecialRegisters()
        var addresses = [
            special.cs.base &+ registers.rip, special.ss.base &+ registers.rsp, special.idt.base, special.gdt.base,
            special.tr.base, special.gs.base,
        ]
        addresses += try cpu.getMSRs([Self.kernelGSBaseMSR]).registers.map(\.value)
        // The stack that an interrupt switches to: RSP0 of the task state segment.
        if special.efer & 1 << 10 != 0,
            let task = PageWalk(special).translate(special.tr.base &+ 4, in: memory).address,
            let stack = try? memory.readUInt64(at: GuestAddress(task)), stack != 0
        {
            addresses.append(stack &- 8)
        }
        return addresses.filter { $0 != 0 }
    }

    private func add(_ addresses: [UInt64], of cpu: KVMVirtualCPU, to pages: inout PageCollection) throws {
        let walk = PageWalk(try cpu.getSpecialRegisters())
        for address in addresses {
            let path = walk.translate(address, in: memory)
            for table in path.tables { pages.add(table) }
            if let target = path.address { pages.add(target) }
        }
    }
}

/// Guest addresses as pages of regions, each once, in the order in which they were added.
private struct PageCollection {
    let memory: GuestAddressSpace
    let regions: [RAMBlock]
    private(set) var all: [RegionPages] = []
    private var known: Set<RegionPages> = []

    init(memory: GuestAddressSpace, regions: [RAMBlock]) {
        self.memory = memory
        self.regions = regions
    }

    /// Adds the pages of a range; what is not memory is passed over, for it is the guest who names it.
    mutating func add(_ address: UInt64, byteCount: Int = 1) {
        guard let slice = try? memory.slice(at: GuestAddress(address), byteCount: byteCount),
            let region = regions.firstIndex(where: { $0 === slice.block })
        else { return }
        let range = PageRange(touching: slice.blockOffset, byteCount: slice.byteCount)
        for page in range.first.value..<range.end.value {
            let single = RegionPages(region: region, range: PageRange(first: PageIndex(page), pageCount: 1))
            if known.insert(single).inserted { all.append(single) }
        }
    }
}

/// The processor's way from a linear address to a physical one (Intel SDM volume 3, 4.5; AMD APM volume 2, 5.3).
struct PageWalk {
    private let root: UInt64
    private let levelCount: Int
    private let isPaging: Bool

    private static let addressMask: UInt64 = 0x000F_FFFF_FFFF_F000

    init(_ state: kvm_sregs) {
        isPaging = state.cr0 & 1 << 31 != 0
        root = state.cr3 & Self.addressMask
        // Tables of 32-bit guests are not followed: what they need is fetched when it is touched.
        levelCount = state.efer & 1 << 10 == 0 ? 0 : state.cr4 & 1 << 12 == 0 ? 4 : 5
    }

    /// What the walk reads, and where it leads; nil where nothing is mapped.
    struct Path: Equatable {
        var tables: [UInt64] = []
        var address: UInt64?
    }

    func translate(_ address: UInt64, in memory: GuestAddressSpace) -> Path {
        if !isPaging { return Path(address: address) }
        var path = Path()
        var table = root
        for level in (0..<levelCount).reversed() {
            let shift = UInt64(12 + 9 * level)
            let place = GuestAddress(table + (address >> shift & 511) * 8)
            guard let entry = try? memory.readUInt64(at: place) else { return path }
            path.tables.append(table)
            guard entry & 1 != 0 else { return path }
            let isLeaf = level == 0 || (level < 3 && entry & 1 << 7 != 0)
            if isLeaf {
                let offsetMask = UInt64(1) << shift - 1
                path.address = entry & Self.addressMask & ~offsetMask | address & offsetMask
                return path
            }
            table = entry & Self.addressMask
        }
        return path
    }
}

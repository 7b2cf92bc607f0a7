/// A small stream with one of nearly everything, written by hand, and the elements that it holds.
enum GoldenStream {
    static let page = [UInt8](repeating: 0x5a, count: 4096)

    static let headerToBlockList = hex(
        """
        5145564d 00000003                         // "QEVM", version 3
        07 00000007 6d6963726f766d                // configuration: "microvm"
        05 1a 636f6e66696775726174696f6e2f6361706162696c6974696573 00000001 // "configuration/capabilities", version 1
           00000001 0f 782d69676e6f72652d736861726564                        // one: "x-ignore-shared"
        05 12 636f6e66696775726174696f6e2f75756964 00000001                  // "configuration/uuid", version 1
           00112233445566778899aabbccddeeff
        08 0001 0000                              // command: open return path
        08 0002 0004 00000001                     // ping 1
        08 0003 0010 0000000000001000 0000000000001000                       // post-copy advice: page sizes
        01 00000002 03 72616d 00000000 00000004   // start of section 2 "ram", instance 0, version 4
           0000000000006004                       // block list of 0x6000 bytes
           02 6d30 0000000000004000 0000000000000000     // "m0", 0x4000 bytes, address 0
           02 6d31 0000000000002000 00000000ffff0000     // "m1", 0x2000 bytes, address 0xffff0000
           0000000000000200                       // multifd flush
           0000000000000010                       // end of the section's records
        7e 00000002                               // footer of section 2
        """)

    static let pagesToDevices =
        hex(
            """
            02 00000002                           // part of section 2
               0000000000000002 02 6d30 00        // page 0 of "m0" is zero
               0000000000001022 00                // and page 0x1000
               0000000000002028                   // page 0x2000, not zero
            """) + page
        + hex(
            """
               0000000000000040 02 6d31 01 0006 0201aa0101bb  // page 0 of "m1", an update of 6 bytes
               0000000000001120 00000003 789c03   // page 0x1000, compressed to 3 bytes
               0000000000000010
            7e 00000002
            08 000b 0000                          // switchover starts
            03 00000002 0000000000000010 7e 00000002     // end of section 2
            """)

    static let devicesToEnd =
        hex(
            """
            04 00000000 05 74696d6572 00000000 00000002      // section 0 "timer", instance 0, version 2
               0000000000000001 0000000000000000 0000000000000003
            7e 00000000
            08 0007 0004 0000000e                     // a package of 14 bytes
               08 0004 0000                       // listen
               08 0002 0004 00000003              // ping 3
            08 0006 0018 00 05 6d656d2d30 00 0000000000001000 0000000000002000 // discard of "mem-0"
            08 000a 0003 02 6d30                  // received bitmap of "m0"?
            08 0009 0000                          // resume
            00                                    // end
            """)
        + description

    static let description = describing(
        #"{"name":"timer","instance_id":0,"vmsd_name":"timer","version":2,"#
            + #""fields":[{"name":"clocks","type":"buffer","size":24}]}"#)

    /// The description at the end of a stream: 06, its length, and `devices` in the frame that QEMU gives them.
    static func describing(_ devices: String) -> [UInt8] {
        let json = ascii("{\"page_size\":4096,\"devices\":[\(devices)]}")
        return [0x06, 0, 0, UInt8(json.count >> 8), UInt8(json.count & 0xff)] + json
    }

    /// Where the plain page's bytes begin.
    static let pageOffset = headerToBlockList.count + 5 + 21 + 8

    static let stream = headerToBlockList + pagesToDevices + devicesToEnd
}
